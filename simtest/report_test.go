package simtest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A spin is one line, with how often it repeats itself.
func TestTimelineFoldsWhatRepeatsItself(t *testing.T) {
	var tl timeline
	for i := range 3 {
		at := time.Duration(i) * time.Second
		tl.entries = append(tl.entries, entry{node: "a", text: "asks"}, entry{node: "b", text: "asks", at: at})
	}
	tl.entries = append(tl.entries, entry{node: "b", text: "gives up", at: time.Minute}, entry{node: "b", text: "asks", at: time.Hour})
	var got []string
	for _, e := range tl.sorted() {
		got = append(got, e.node+" "+e.String())
	}
	want := []string{"a asks, and 2 times more", "b asks, and 2 times more until 2s", "b gives up", "b asks"}
	if !slices.Equal(got, want) {
		t.Errorf("the timeline is %q, want %q", got, want)
	}
}

// TestReports lets a schedule fail and looks at what a person gets to see.
func TestReports(t *testing.T) {
	cfg, err := Config{Nodes: 2}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	v, s := once(t, cfg, scripted{}, func(s *Sim) {
		s.Start()
		s.Flow()
		s.Submit("<t1>")
		h := s.Hold("", OpClaim, "<t1>")
		s.Invariant("nobody has it", func() error {
			if node, _ := s.Owner("<t1>"); node != "" {
				return errors.New(node + " has it")
			}
			return nil
		})
		h.LoseReply()
	})
	if v == nil || v.invariant != "nobody has it" {
		t.Fatalf("violation %v\n%s", v, s.report())
	}
	for _, want := range []string{"| a ", "| b ", "| broker", "claim <t1> @5 (reply lost)", "hears: <t1> is there @4"} {
		if !strings.Contains(s.report(), want) {
			t.Errorf("the timeline lacks %q:\n%s", want, s.report())
		}
	}

	*htmlFlag = filepath.Join(t.TempDir(), "timeline.html")
	defer func() { *htmlFlag = "" }()
	if err := s.writePage(t.Name(), v); err != nil {
		t.Fatal(err)
	}
	html, err := os.ReadFile(*htmlFlag)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"<title>TestReports: nobody has it</title>", "<code>go test -count=1 -run &#39;^TestReports$&#39;</code>",
		`<td class="fault">claim &lt;t1&gt; @5 (reply lost)</td>`,
	} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page lacks %q:\n%s", want, html)
		}
	}

	*htmlFlag = filepath.Join(t.TempDir(), "no", "such", "folder")
	if err := s.writePage(t.Name(), v); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}
