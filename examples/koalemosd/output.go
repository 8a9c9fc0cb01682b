//go:build unix

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/metafora-go/metafora"
)

// maxOutputName is the length to which the name of an output file is cut. File
// systems allow 255 bytes, less than a task's ID can have when escaped.
const maxOutputName = 200

// outputName returns the name of the file with the output of a task. Tasks of
// different IDs have different files.
func outputName(id string) string {
	name := url.PathEscape(id)
	if len(name) > maxOutputName {
		sum := sha256.Sum256([]byte(id))
		name = name[:maxOutputName] + "~" + hex.EncodeToString(sum[:8])
	}
	return name + ".log"
}

// openOutput opens the file for the output of a task, at its end: earlier runs
// of it, on this node or others of this machine, are kept.
func openOutput(dir string, task metafora.Task, claim metafora.Claim) (*os.File, error) {
	// The output of a command may be nobody else's business.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("output directory: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, outputName(task.ID())), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("output file: %w", err)
	}
	if _, err := fmt.Fprintf(f, "=== %v: %v\n", claim, task); err != nil {
		return nil, fmt.Errorf("output file: %w", err)
	}
	return f, nil
}
