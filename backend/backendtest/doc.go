// Package backendtest checks that a backend keeps the contract of
// [metafora.Coordinator], [metafora.Client] and what belongs to them. Each
// sentence of their documentation has a check here; a backend that breaks one
// fails [Run].
//
// A backend fills in a [Harness] and calls Run from one test of its own:
//
//	func TestConformance(t *testing.T) {
//		backendtest.Run(t, backendtest.Harness{
//			NewBroker: newBroker,     // an empty broker for each check
//			Isolate:   synctest.Test, // for backends that can live in fake time
//		})
//	}
//
// # Checks
//
// Checks are named <subject>/<what must hold>, for instance
// "claim/AfterDoneDoesNotResurrect", so that -run selects them. Each has a
// broker of its own and needs nothing of any other check. One that needs a fault
// or a part that the [Broker] does not offer is skipped and says why.
//
// The suite waits for what must happen by polling until [Harness.Patience] is
// over, and asserts no durations, so that a slow machine does not fail it. What
// must not happen is looked for after something that the backend does later has
// been seen, and for another [Harness.Grace].
//
// At the end of each check some promises are verified for all its nodes
// whatever the check was about: Lost is called at most once for a claim, with
// one of the two causes, and nothing is called back after Close.
package backendtest
