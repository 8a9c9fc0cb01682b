package statemachine_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/statemachine"
)

func ExampleEncodeState() {
	stored, err := statemachine.EncodeState(statemachine.State{
		Code:  statemachine.Sleeping,
		Since: time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC),
		Until: time.Date(2026, 1, 2, 16, 4, 5, 0, time.UTC),
	})
	fmt.Println(string(stored), err)
	state, err := statemachine.DecodeState(stored)
	fmt.Println(state, err)
	// Output:
	// {"state":"sleeping","since":"2026-01-02T15:04:05Z","until":"2026-01-02T16:04:05Z"} <nil>
	// sleeping until 2026-01-02T16:04:05Z <nil>
}

func ExampleDecodeMessage() {
	for _, text := range []string{`{"message":"pause"}`, `{"message":"error","error":"disk full"}`, `{"message":"sleep"}`} {
		m, err := statemachine.DecodeMessage([]byte(text))
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(m)
	}
	// Output:
	// pause
	// error: disk full
	// statemachine: invalid message: sleep without a deadline
}

func ExampleDefaultErrHandler() {
	var errs []statemachine.TaskError
	for range 8 {
		now := time.Now()
		errs = append(errs, statemachine.TaskError{Time: now, Error: "disk full"})
		m, _ := statemachine.DefaultErrHandler(metafora.NewTask("task"), errs)
		if m.Code == statemachine.CodeSleep {
			fmt.Println("error", len(errs), "- again in", m.Until.Sub(now).Round(time.Minute))
		} else {
			fmt.Println("error", len(errs), "-", m)
		}
	}
	// Output:
	// error 1 - again in 10m0s
	// error 2 - again in 10m0s
	// error 3 - again in 10m0s
	// error 4 - again in 10m0s
	// error 5 - again in 10m0s
	// error 6 - again in 10m0s
	// error 7 - again in 10m0s
	// error 8 - error: given up after 8 errors within 4h0m0s
}

func ExampleError() {
	m := statemachine.Error(fmt.Errorf("write page 7: %w", errors.New("disk full")))
	fmt.Println(m)
	fmt.Println(m.Valid(), statemachine.Error(nil).Valid())
	// Output:
	// error: write page 7: disk full
	// <nil> statemachine: invalid message: error without the text of an error
}
