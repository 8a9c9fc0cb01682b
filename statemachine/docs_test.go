package statemachine_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/metafora-go/metafora/statemachine"
)

var update = flag.Bool("update", false, "write the generated parts of docs/statemachine.md")

const page = "../docs/statemachine.md"

func TestDocumentedRulesAreTheRules(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	want := text
	for name, part := range map[string]string{"diagram": diagram(), "table": table()} {
		if want, err = replacePart(want, name, part); err != nil {
			t.Fatal(err)
		}
	}
	if bytes.Equal(text, want) {
		return
	}
	if !*update {
		t.Fatalf("%s does not show the rules; mend it with: go test ./statemachine -run %s -update", page, t.Name())
	}
	if err := os.WriteFile(page, want, 0o644); err != nil {
		t.Fatal(err)
	}
}

// replacePart puts part between two comments of the page that name it.
func replacePart(text []byte, name, part string) ([]byte, error) {
	begin, end := fmt.Sprintf("<!-- %s: generated -->\n", name), fmt.Sprintf("<!-- %s: end -->", name)
	before, rest, ok := strings.Cut(string(text), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return nil, fmt.Errorf("%s has no part %q", page, name)
	}
	return []byte(before + begin + part + end + after), nil
}

// diagram draws the rules in Mermaid. What keeps the state is left out: it would
// hide the rest.
func diagram() string {
	var b strings.Builder
	b.WriteString("```mermaid\nstateDiagram-v2\n")
	fmt.Fprintf(&b, "    [*] --> %s\n", statemachine.Runnable)
	for _, r := range statemachine.Rules() {
		if r.From != r.To {
			fmt.Fprintf(&b, "    %s --> %s: %s\n", r.From, r.To, r.Event)
		}
	}
	for _, s := range allStates() {
		if s.Terminal() {
			fmt.Fprintf(&b, "    %s --> [*]\n", s)
		}
	}
	b.WriteString("```\n")
	return b.String()
}

// table lists the rules with a row for each state and a column for each message.
func table() string {
	var b strings.Builder
	row := func(head string, cell func(statemachine.MessageCode) string) {
		b.WriteString("| " + head + " |")
		for _, code := range allCodes() {
			b.WriteString(" " + cell(code) + " |")
		}
		b.WriteString("\n")
	}
	row("in state", func(c statemachine.MessageCode) string { return string(c) })
	row("---", func(statemachine.MessageCode) string { return "---" })
	rules := statemachine.Rules()
	for _, from := range allStates() {
		row("**"+string(from)+"**", func(c statemachine.MessageCode) string {
			i := slices.IndexFunc(rules, func(r statemachine.Rule) bool { return r.From == from && r.Event == c })
			if i < 0 {
				return ""
			}
			return string(rules[i].To)
		})
	}
	return b.String()
}
