package backendtest

import "testing"

// Run runs the whole suite against a backend.
func Run(t *testing.T, h Harness) {
	h = h.withDefaults()
	for _, s := range subjects() {
		t.Run(s.name, func(t *testing.T) {
			for _, c := range s.checks {
				t.Run(c.name, func(t *testing.T) {
					if h.Parallel {
						t.Parallel()
					}
					runCheck(t, h, c)
				})
			}
		})
	}
}

// subject is a part of the contract: the checks of one file.
type subject struct {
	name   string
	checks []check
}

// check tests one sentence of the contract, or a few that belong together.
type check struct {
	name string
	run  func(*cluster)
}

func subjects() []subject {
	return []subject{
		{"announce", announceChecks()},
		{"taskfunc", taskFuncChecks()},
		{"claim", claimChecks()},
		{"release", releaseChecks()},
		{"done", doneChecks()},
		{"ids", idChecks()},
		{"commands", commandChecks()},
		{"membership", membershipChecks()},
		{"client", clientChecks()},
		{"submit", submitChecks()},
		{"compaction", compactionChecks()},
		{"lost", lostChecks()},
		{"close", closeChecks()},
		{"contexts", contextChecks()},
		{"state", stateChecks()},
		{"listen", listenChecks()},
		{"listenfunc", listenFuncChecks()},
	}
}

// runCheck runs a check in isolation. A check is skipped from outside of
// Isolate, since a skip within a synctest bubble would be reported as a pass.
func runCheck(t *testing.T, h Harness, c check) {
	var missing string
	h.Isolate(t, func(t *testing.T) {
		cl := newCluster(t, h)
		defer func() { missing = cl.missing }()
		c.run(cl)
	})
	if missing != "" {
		t.Skipf("the harness does not offer %s", missing)
	}
}
