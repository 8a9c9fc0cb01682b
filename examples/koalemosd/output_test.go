//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/metafora-go/metafora"
)

func TestOutputFilesAreDistinctAndStayInTheirDirectory(t *testing.T) {
	dir := t.TempDir()
	ids := []string{
		"plain", "tenant/42", "tenant%2F42", "..", ".", "../../etc/passwd", "with space", "Ünïcode", "-rf",
		strings.Repeat("x", metafora.MaxIDLen), strings.Repeat("x", metafora.MaxIDLen-1) + "y",
		strings.Repeat("/", metafora.MaxIDLen),
	}
	for _, id := range ids {
		task := metafora.NewTask(id)
		f, err := openOutput(dir, task, metafora.Claim{TaskID: id})
		if err != nil {
			t.Errorf("%.20q: %v", id, err)
			continue
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if parent := filepath.Dir(f.Name()); parent != dir {
			t.Errorf("%.20q is in %s", id, parent)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(ids) {
		t.Errorf("%d files for %d tasks", len(entries), len(ids))
	}
}
