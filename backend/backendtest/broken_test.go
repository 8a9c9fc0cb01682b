package backendtest_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/backend/backendtest"
	"github.com/metafora-go/metafora/backend/memory"
)

// flaw is one way in which a backend can break the contract, and the checks that
// must catch it.
type flaw struct {
	name     string
	caughtBy []string
	// install makes a correct broker flawed.
	install func(b *memory.Broker, broker *backendtest.Broker)
}

func flaws() []flaw {
	return slices.Concat(watchFlaws(), claimFlaws(), lostFlaws(), nodeFlaws(), clientFlaws(), commandFlaws(), stateFlaws())
}

// flawedNodes makes a flaw of what turns a correct Coordinator into a flawed one.
func flawedNodes(wrap func(*memory.Broker, *memory.Coordinator) metafora.Coordinator) func(*memory.Broker, *backendtest.Broker) {
	return func(b *memory.Broker, broker *backendtest.Broker) {
		correct := broker.NewCoordinator
		broker.NewCoordinator = func(t testing.TB, name string, o backendtest.NodeOptions) metafora.Coordinator {
			return wrap(b, correct(t, name, o).(*memory.Coordinator))
		}
	}
}

// flawedClients makes a flaw of what turns a correct Client into a flawed one.
func flawedClients(wrap func(*memory.Broker, *memory.Client) metafora.Client) func(*memory.Broker, *backendtest.Broker) {
	return func(b *memory.Broker, broker *backendtest.Broker) {
		broker.NewClient = func(testing.TB) metafora.Client { return wrap(b, b.Client()) }
	}
}

const flawVariable = "METAFORA_BACKENDTEST_FLAW"

// TestSuiteOfFlawedBackend is what TestEachFlawIsCaught runs in processes of its
// own, where it may fail.
func TestSuiteOfFlawedBackend(t *testing.T) {
	name := os.Getenv(flawVariable)
	i := slices.IndexFunc(flaws(), func(f flaw) bool { return f.name == name })
	if i < 0 {
		t.Skipf("%s names no flaw", flawVariable)
	}
	h := memoryHarness()
	h.NewBroker = func(testing.TB) backendtest.Broker {
		b := memory.NewBroker()
		broker := memoryBroker(b)
		flaws()[i].install(b, &broker)
		return broker
	}
	backendtest.Run(t, h)
}

// TestEachFlawIsCaught runs the suite against each flawed backend and wants the
// checks to fail that are about the flaw.
func TestEachFlawIsCaught(t *testing.T) {
	for _, f := range flaws() {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			failed := failedChecks(t, f)
			t.Logf("caught by %s", strings.Join(failed, " "))
			for _, want := range f.caughtBy {
				if !slices.Contains(failed, want) {
					t.Errorf("not caught by %s", want)
				}
			}
		})
	}
}

// A check that catches no flaw is not known to check anything.
func TestEachCheckCatchesAFlaw(t *testing.T) {
	output, err := suite(t, "TestMemoryKeepsTheContract", "").CombinedOutput()
	if err != nil {
		t.Fatalf("the suite of the correct backend: %v\n%s", err, output)
	}
	passed := checksIn(output, "PASS: TestMemoryKeepsTheContract")
	if len(passed) < 100 {
		t.Fatalf("only %d checks have run", len(passed))
	}
	for _, name := range passed {
		if !slices.ContainsFunc(flaws(), func(f flaw) bool { return slices.Contains(f.caughtBy, name) }) {
			t.Errorf("%s catches none of the flaws", name)
		}
	}
}

// suite is a run of one test of this package, and of those below it that match,
// in a process of its own.
func suite(t *testing.T, pattern, flaw string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+pattern, "-test.v", "-test.timeout=2m")
	cmd.Env = append(os.Environ(), flawVariable+"="+flaw)
	return cmd
}

// checksIn returns the checks that had a result, in a run's output.
func checksIn(output []byte, result string) (checks []string) {
	for _, match := range regexp.MustCompile(`--- `+result+`/(\w+/\w+)`).FindAllStringSubmatch(string(output), -1) {
		if !slices.Contains(checks, match[1]) {
			checks = append(checks, match[1])
		}
	}
	return checks
}

// failedChecks runs, against a flawed backend, the checks that must catch it and
// those of the same names in the same subjects, and returns those that failed.
func failedChecks(t *testing.T, f flaw) []string {
	t.Helper()
	var subjects, names []string
	for _, check := range f.caughtBy {
		subject, name, _ := strings.Cut(check, "/")
		subjects, names = append(subjects, subject), append(names, name)
	}
	pattern := fmt.Sprintf("^TestSuiteOfFlawedBackend$/^(%s)$/^(%s)$", strings.Join(subjects, "|"), strings.Join(names, "|"))
	output, err := suite(t, pattern, f.name).CombinedOutput()
	if err == nil {
		t.Fatal("the suite passes")
	}
	if _, failed := err.(*exec.ExitError); !failed {
		t.Fatalf("run the suite: %v", err)
	}
	if strings.Contains(string(output), "panic: ") {
		t.Fatalf("the suite did not survive the flaw:\n%s", output)
	}
	return checksIn(output, "FAIL: TestSuiteOfFlawedBackend")
}
