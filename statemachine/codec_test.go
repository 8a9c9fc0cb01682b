package statemachine_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/metafora-go/metafora/statemachine"
)

func TestStatesRoundTripExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		b, err := statemachine.EncodeState(s)
		if err != nil {
			t.Fatalf("encode a valid state: %v", err)
		}
		first, err := statemachine.DecodeState(b)
		if err != nil {
			t.Fatalf("decode %s: %v", b, err)
		}
		if !first.Equal(s) {
			t.Fatalf("%v came back as %v", s, first)
		}
		// What was read is the same in each bit when it is written and read once more.
		b, err = statemachine.EncodeState(first)
		if err != nil {
			t.Fatalf("encode again: %v", err)
		}
		if second, err := statemachine.DecodeState(b); err != nil || !reflect.DeepEqual(first, second) {
			t.Fatalf("%#v came back as %#v, %v", first, second, err)
		}
	})
}

func TestMessagesRoundTripExactly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := drawMessage(t)
		b, err := statemachine.EncodeMessage(m)
		if err != nil {
			t.Fatalf("encode a valid message: %v", err)
		}
		if back, err := statemachine.DecodeMessage(b); err != nil || back != m {
			t.Fatalf("%#v came back as %#v, %v", m, back, err)
		}
	})
}

func TestWireFormIsWhatOperatorsRead(t *testing.T) {
	at := time.Date(2026, 1, 2, 15, 4, 5, 6000, time.UTC)
	state := statemachine.State{
		Code: statemachine.Sleeping, Since: at, Until: at.Add(time.Minute),
		Errors: []statemachine.TaskError{{Time: at, Error: "disk full"}},
	}
	for _, c := range []struct {
		value any
		want  string
	}{
		{statemachine.State{Code: statemachine.Runnable}, `{"state":"runnable"}`},
		{state, `{"state":"sleeping","since":"2026-01-02T15:04:05.000006Z","until":"2026-01-02T15:05:05.000006Z",` +
			`"errors":[{"time":"2026-01-02T15:04:05.000006Z","error":"disk full"}]}`},
		{statemachine.Pause(), `{"message":"pause"}`},
		{statemachine.Sleep(at), `{"message":"sleep","until":"2026-01-02T15:04:05.000006Z"}`},
		{statemachine.Error(errors.New("disk full")), `{"message":"error","error":"disk full"}`},
	} {
		if got, err := json.Marshal(c.value); err != nil || string(got) != c.want {
			t.Errorf("got  %s, %v\nwant %s", got, err, c.want)
		}
	}
}

func TestTimesAreStoredInUTC(t *testing.T) {
	local := time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("far east", 14*3600))
	b, err := statemachine.EncodeState(statemachine.State{Code: statemachine.Sleeping, Since: time.Now(), Until: local})
	if err != nil {
		t.Fatal(err)
	}
	s, err := statemachine.DecodeState(b)
	if err != nil {
		t.Fatal(err)
	}
	if want := local.UTC(); s.Until != want {
		t.Errorf("until %v, want %v", s.Until, want)
	}
	if s.Since != s.Since.Round(0).UTC() {
		t.Errorf("since %#v is not plain UTC", s.Since)
	}
}

func TestWhatCannotBeParsedIsNamedSo(t *testing.T) {
	for _, text := range []string{
		"", "null", "{}", "[]", `"runnable"`, "{", `{"state":"dreaming"}`, `{"state":"sleeping"}`, `{"state":"fault"}`,
		`{"state":"failed","errors":[]}`, `{"state":"runnable","until":"2026-01-02T15:04:05Z"}`,
		`{"state":"sleeping","until":"tomorrow"}`, `{"state":"runnable"}{"state":"killed"}`, "\x00\xff",
	} {
		if s, err := statemachine.DecodeState([]byte(text)); !errors.Is(err, statemachine.ErrCorruptState) {
			t.Errorf("state %q: got %v, %v", text, s, err)
		}
	}
	for _, text := range []string{
		"", "null", "{}", "[]", `{"message":"dance"}`, `{"message":"sleep"}`, `{"message":"error"}`,
		`{"message":"pause","error":"why"}`, `{"message":"run","until":"2026-01-02T15:04:05Z"}`,
	} {
		if m, err := statemachine.DecodeMessage([]byte(text)); !errors.Is(err, statemachine.ErrInvalidMessage) {
			t.Errorf("message %q: got %v, %v", text, m, err)
		}
	}
}

func TestTimesThatJSONCannotExpressAreRefused(t *testing.T) {
	far := time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)
	state := statemachine.State{Code: statemachine.Sleeping, Until: far}
	if _, err := statemachine.EncodeState(state); !errors.Is(err, statemachine.ErrInvalidState) {
		t.Errorf("state: %v", err)
	}
	if _, err := statemachine.EncodeMessage(statemachine.Sleep(far)); !errors.Is(err, statemachine.ErrInvalidMessage) {
		t.Errorf("message: %v", err)
	}
}

func TestErrorTextsAreBoundedAndClean(t *testing.T) {
	for name, text := range map[string]string{
		"long":          strings.Repeat("x", 3*statemachine.MaxErrorLen),
		"long unicode":  "x" + strings.Repeat("€", statemachine.MaxErrorLen),
		"invalid":       "before \xff\xfe after",
		"long invalid":  strings.Repeat("\xffx", statemachine.MaxErrorLen),
		"just in limit": strings.Repeat("x", statemachine.MaxErrorLen),
	} {
		m := statemachine.Error(errors.New(text))
		if len(m.Err) > statemachine.MaxErrorLen || !utf8.ValidString(m.Err) || m.Err[0] != text[0] && utf8.ValidString(text) {
			t.Errorf("%s: %d bytes, %.20q", name, len(m.Err), m.Err)
		}
		b, err := statemachine.EncodeMessage(m)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := statemachine.DecodeMessage(b); err != nil || back != m {
			t.Errorf("%s: does not round-trip: %v", name, err)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	f.Add([]byte(`{"state":"runnable"}`))
	f.Add([]byte(`{"state":"sleeping","until":"2026-01-02T15:04:05.999999999+14:00","errors":[{"time":"0000-01-01T00:00:00Z","error":"\ud800"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := statemachine.DecodeState(b)
		if err != nil {
			if !errors.Is(err, statemachine.ErrCorruptState) {
				t.Fatalf("got %v", err)
			}
			return
		}
		again, err := statemachine.EncodeState(s)
		if err != nil {
			t.Fatalf("a state that was read cannot be written: %v", err)
		}
		if back, err := statemachine.DecodeState(again); err != nil || !reflect.DeepEqual(back, s) {
			t.Fatalf("%#v came back as %#v, %v", s, back, err)
		}
	})
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add([]byte(`{"message":"sleep","until":"2026-01-02T15:04:05.999999999-23:59"}`))
	f.Add([]byte(`{"message":"error","error":"\u0000\ud800"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := statemachine.DecodeMessage(b)
		if err != nil {
			if !errors.Is(err, statemachine.ErrInvalidMessage) {
				t.Fatalf("got %v", err)
			}
			return
		}
		again, err := statemachine.EncodeMessage(m)
		if err != nil {
			t.Fatalf("a message that was read cannot be written: %v", err)
		}
		if back, err := statemachine.DecodeMessage(again); err != nil || back != m {
			t.Fatalf("%#v came back as %#v, %v", m, back, err)
		}
	})
}

func BenchmarkEncodeState(b *testing.B) {
	s := statemachine.State{Code: statemachine.Sleeping, Since: time.Now(), Until: time.Now().Add(time.Hour)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := statemachine.EncodeState(s); err != nil {
			b.Fatal(err)
		}
	}
}
