//go:build race

package metafora_test

const raceEnabled = true
