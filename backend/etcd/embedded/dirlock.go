package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
)

// lockFile is held locked in a data directory as long as a Server runs there.
const lockFile = "metafora.lock"

// lockDir creates dir and locks it, so that a second server is refused with
// ErrDirLocked. etcd itself would wait for ever, without a word and without
// looking at any context, for the first one to end.
func lockDir(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("embedded etcd: data directory: %w", err)
	}
	lock, err := fileutil.TryLockFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("%w: %q", ErrDirLocked, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: lock data directory %q: %w", dir, err)
	}
	if err := checkForeign(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock.Close, nil
}

// checkForeign finds an etcd of another make in dir. It does not know our lock
// file, but keeps its write-ahead log locked.
func checkForeign(dir string) error {
	segments, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
	if err != nil {
		return fmt.Errorf("embedded etcd: data directory %q: %w", dir, err)
	}
	for _, segment := range segments {
		f, err := fileutil.TryLockFile(segment, os.O_RDWR, 0o600)
		if errors.Is(err, fileutil.ErrLocked) {
			return fmt.Errorf("%w: %q", ErrDirLocked, dir)
		}
		if err != nil {
			return fmt.Errorf("embedded etcd: data directory %q: %w", dir, err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("embedded etcd: data directory %q: %w", dir, err)
		}
	}
	return nil
}
