// Package layout holds the module's import directions, as a test.
package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/metafora-go/metafora"

// listed is what "go list -json" tells of a package.
type listed struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// goList runs "go list" for patterns below the module, "" being its root.
func goList(t *testing.T, patterns []string, flags ...string) []listed {
	t.Helper()
	args := append([]string{"list", "-json=ImportPath,Standard,Imports,TestImports,XTestImports"}, flags...)
	for _, p := range patterns {
		args = append(args, strings.TrimSuffix(module+"/"+p, "/"))
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).Output()
	if err != nil {
		if ee := (*exec.ExitError)(nil); errors.As(err, &ee) {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, ee.Stderr)
		}
		t.Fatal(err)
	}
	var pkgs []listed
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// within tells whether path is one of the trees, or below one.
func within(path string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return path == tree || strings.HasPrefix(path, tree+"/")
	})
}

func TestRootImportsNothingButHclog(t *testing.T) {
	standard := map[string]bool{}
	for _, p := range goList(t, []string{""}, "-deps") {
		standard[p.ImportPath] = p.Standard
	}
	for _, path := range goList(t, []string{""})[0].Imports {
		if !standard[path] && path != "github.com/hashicorp/go-hclog" {
			t.Errorf("the root package imports %s", path)
		}
	}
}

// A program pays only for the backend that it uses.
func TestProgramsLinkOnlyWhatTheyUse(t *testing.T) {
	etcd := []string{"go.etcd.io", "google.golang.org/grpc", "google.golang.org/protobuf"}
	server := []string{"go.etcd.io/etcd/server/v3", "go.etcd.io/raft/v3", "go.etcd.io/bbolt"}
	for _, tc := range []struct {
		program []string // the packages that it imports
		without []string
	}{
		{[]string{"", "backend/memory", "statemachine"}, etcd},
		{[]string{"", "backend/memory", "inspect"}, []string{"go.etcd.io", "google.golang.org/grpc"}},
		{[]string{"", "backend/etcd", "inspect/etcdmetrics"}, server},
		{[]string{"", "backend/etcd", "statemachine"}, server},
		{[]string{"examples/koalemosctl"}, server},
	} {
		for _, p := range goList(t, tc.program, "-deps") {
			if within(p.ImportPath, tc.without...) {
				t.Errorf("a program that imports %q links %s", tc.program, p.ImportPath)
			}
		}
	}
}

func TestOnlyEmbeddedImportsTheEtcdServer(t *testing.T) {
	for _, p := range goList(t, []string{"..."}) {
		if within(p.ImportPath, module+"/backend/etcd/embedded") {
			continue
		}
		for _, path := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if within(path, "go.etcd.io/etcd/server/v3") {
				t.Errorf("%s imports %s", p.ImportPath, path)
			}
		}
	}
}

// The layers above the contract know each other only downwards.
func TestLayersPointDownwards(t *testing.T) {
	for layer, forbidden := range map[string][]string{
		"backend":      {"balance", "inspect", "simtest", "examples", "cmd", "bench"},
		"statemachine": {"backend", "balance", "inspect", "simtest", "examples", "cmd", "bench"},
		"balance":      {"backend", "statemachine", "inspect", "simtest", "examples", "cmd", "bench"},
		"internal":     {"examples", "cmd", "bench"},
	} {
		for i := range forbidden {
			forbidden[i] = module + "/" + forbidden[i]
		}
		for _, p := range goList(t, []string{layer + "/..."}) {
			for _, path := range p.Imports {
				if within(path, forbidden...) {
					t.Errorf("%s imports %s", p.ImportPath, path)
				}
			}
		}
	}
}
