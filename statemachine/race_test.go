//go:build race

package statemachine_test

// Under the race detector memory is not what it is otherwise.
const raceDetector = true
