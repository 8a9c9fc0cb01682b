package statemachine

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// EncodeState validates s and returns what a StateStore keeps: its JSON form.
// Errors wrap [ErrInvalidState].
func EncodeState(s State) ([]byte, error) {
	if err := s.Valid(); err != nil {
		return nil, err
	}
	return s.MarshalJSON()
}

// DecodeState parses what EncodeState returned and validates it. All its errors
// wrap [ErrCorruptState].
func DecodeState(b []byte) (State, error) {
	var s State
	if err := s.UnmarshalJSON(b); err != nil {
		return State{}, fmt.Errorf("%w: %.64q: %w", ErrCorruptState, b, err)
	}
	if err := s.Valid(); err != nil {
		return State{}, fmt.Errorf("%w: %w", ErrCorruptState, err)
	}
	return s, nil
}

// EncodeMessage validates m and returns what a Commander keeps: its JSON form.
// Errors wrap [ErrInvalidMessage].
func EncodeMessage(m Message) ([]byte, error) {
	if err := m.Valid(); err != nil {
		return nil, err
	}
	return m.MarshalJSON()
}

// DecodeMessage parses what EncodeMessage returned and validates it. All its
// errors wrap [ErrInvalidMessage].
func DecodeMessage(b []byte) (Message, error) {
	var m Message
	if err := m.UnmarshalJSON(b); err != nil {
		return Message{}, fmt.Errorf("%w: %.64q: %w", ErrInvalidMessage, b, err)
	}
	if err := m.Valid(); err != nil {
		return Message{}, err
	}
	return m, nil
}

// The types below have the JSON tags of State and Message but not their
// methods, which would call themselves.
type (
	plainState   State
	plainMessage Message
)

// MarshalJSON implements [json.Marshaler].
func (s State) MarshalJSON() ([]byte, error) {
	return json.Marshal(plainState(s.canonical()))
}

// UnmarshalJSON implements [json.Unmarshaler]. It does not call Valid.
func (s *State) UnmarshalJSON(b []byte) error {
	var p plainState
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*s = State(p).canonical()
	return nil
}

// MarshalJSON implements [json.Marshaler].
func (m Message) MarshalJSON() ([]byte, error) {
	return json.Marshal(plainMessage(m.canonical()))
}

// UnmarshalJSON implements [json.Unmarshaler]. It does not call Valid.
func (m *Message) UnmarshalJSON(b []byte) error {
	var p plainMessage
	if err := json.Unmarshal(b, &p); err != nil {
		return err
	}
	*m = Message(p).canonical()
	return nil
}

// canonical returns s as it comes back from the broker.
func (s State) canonical() State {
	s.Since, s.Until = utc(s.Since), utc(s.Until)
	s.Errors = slices.Clone(latest(s.Errors))
	if len(s.Errors) == 0 {
		s.Errors = nil
	}
	for i, e := range s.Errors {
		s.Errors[i] = TaskError{Time: utc(e.Time), Error: cleanText(e.Error)}
	}
	return s
}

// canonical returns m as it comes back from the broker.
func (m Message) canonical() Message {
	m.Until, m.Err = utc(m.Until), cleanText(m.Err)
	return m
}

// utc returns t in UTC and without its monotonic reading: in the one form that
// an instant has after a round trip.
func utc(t time.Time) time.Time { return t.Round(0).UTC() }

// storable reports whether RFC 3339, and so JSON, can express t.
func storable(t time.Time) bool {
	year := utc(t).Year()
	return 0 <= year && year <= 9999
}

// cleanText returns text as JSON can carry it, at most MaxErrorLen bytes.
func cleanText(text string) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	if len(text) <= MaxErrorLen {
		return text
	}
	const ellipsis = "..."
	end := MaxErrorLen - len(ellipsis)
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + ellipsis
}
