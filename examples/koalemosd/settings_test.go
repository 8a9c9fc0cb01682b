//go:build unix

package main

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
)

func TestSettingsHaveDefaults(t *testing.T) {
	s, err := parseSettings(nil, &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if s.name != hostname || s.level != hclog.Info || s.dev || s.ttl <= s.margin {
		t.Errorf("unexpected defaults: %+v", s)
	}
	if s.nameWait <= s.ttl {
		t.Errorf("a restarted node would wait %v for a lease of %v", s.nameWait, s.ttl)
	}
}

func TestSettingsFollowFlags(t *testing.T) {
	s, err := parseSettings(strings.Fields("-name n1 --log debug -namespace /x -ttl 4s -margin 1s -dev -etcd 127.0.0.1:0"), &strings.Builder{})
	if err != nil {
		t.Fatal(err)
	}
	if s.name != "n1" || s.level != hclog.Debug || s.conn.Namespace != "/x" || s.ttl != 4*time.Second || s.margin != time.Second {
		t.Errorf("flags are not followed: %+v", s)
	}
	if host, port, err := s.devAddress(); host != "127.0.0.1" || port != 0 || err != nil {
		t.Errorf("etcd of -dev listens on %s, port %d (%v)", host, port, err)
	}
}

func TestSettingErrorsNameTheValue(t *testing.T) {
	for _, tc := range []struct{ flags, want string }{
		{"extra", `"extra"`},
		{"-nosuch", "-nosuch"},
		{"-name=", "-name"},
		{"-log loud", "loud"},
		{"-data /x", "-dev"},
		{"-kill 30s -drain 30s", "30s"},
		{"-kill 0s", "-kill 0s"},
		{"-retry -1s", "-1s"},
		{"-margin 0s", "-margin 0s"},
		{"-demo -dev", "-dev"},
		{"-demo -etcd a:1", "-etcd"},
		{"-demo -name n", "-name n"},
		{"-failures 3", "-failures 3"},
		{"-backoff 1s", "-stateful"},
		{"-stateful -failures 17", "-failures 17"},
		{"-stateful -failures -1", "-failures -1"},
		{"-stateful -backoff 0s", "-backoff 0s"},
		{"-stateful -backoff 2h", "-backoff 2h"},
		{"-dev -etcd a.test:1", "a.test:1"},
		{"-dev -etcd https://127.0.0.1:1", "https://127.0.0.1:1"},
		{"-dev -etcd 127.0.0.1:1,127.0.0.1:2", "127.0.0.1:2"},
	} {
		var stderr strings.Builder
		if _, err := parseSettings(strings.Fields(tc.flags), &stderr); err == nil {
			t.Errorf("%s: no error", tc.flags)
		} else if !strings.Contains(stderr.String(), tc.want) {
			t.Errorf("%s: message does not name %s: %s", tc.flags, tc.want, stderr.String())
		}
	}
}

func TestHelpListsFlags(t *testing.T) {
	var stderr strings.Builder
	if _, err := parseSettings([]string{"-help"}, &stderr); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("got %v, want ErrHelp", err)
	}
	for _, want := range []string{"koalemosd -dev", "-etcd URLs", "-name name", "-ttl duration"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("help lacks %q:\n%s", want, stderr.String())
		}
	}
}
