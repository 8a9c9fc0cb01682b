//go:build unix

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/metafora-go/metafora"
	"github.com/metafora-go/metafora/examples/internal/koalemos"
	"github.com/metafora-go/metafora/statemachine"
)

const usage = `koalemosd runs operating-system commands as tasks, together with the other
koalemosd of its cluster. Commands come from koalemosctl.

	koalemosd -demo                     watch three nodes lose two of them, in 20 seconds
	koalemosd -dev                      a first node, with an etcd of its own
	koalemosd -name second              a second one on the same machine
	koalemosctl sleep 60                something to do

`

// settings are what the flags say.
type settings struct {
	conn     koalemos.Connection
	name     string
	level    hclog.Level
	dev      bool
	demo     bool
	dataDir  string
	output   string
	ttl      time.Duration
	margin   time.Duration
	nameWait time.Duration
	drain    time.Duration
	kill     time.Duration
	retry    time.Duration
	stateful bool
	backoff  statemachine.Backoff
}

// parseSettings parses the command line. What is wrong with it, or the help that
// it asks for, goes to stderr.
func parseSettings(args []string, stderr io.Writer) (*settings, error) {
	hostname, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("host name: %w", err)
	}
	s := &settings{level: hclog.Info}
	fs := flag.NewFlagSet("koalemosd", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Usage = func() {
		fmt.Fprint(stderr, usage)
		fs.PrintDefaults()
	}
	s.conn.AddFlags(fs)
	fs.StringVar(&s.name, "name", hostname, "`name` of this node, unlike that of any other")
	fs.Func("log", "`level` of logging: trace, debug, info, warn, error (default info)", func(v string) error {
		if s.level = hclog.LevelFromString(v); s.level == hclog.NoLevel {
			return errors.New("no such level")
		}
		return nil
	})
	fs.BoolVar(&s.dev, "dev", false, "run an etcd in this process, listening where -etcd says, port 0 for any free one")
	fs.BoolVar(&s.demo, "demo", false, "show what a cluster does, with an etcd and nodes of its own, and end")
	fs.StringVar(&s.dataDir, "data", "", "`directory` for the data of -dev (default a temporary one, removed at the end)")
	fs.StringVar(&s.output, "output", filepath.Join(os.TempDir(), "koalemos"), "`directory` for the output of commands, a file for each task")
	fs.DurationVar(&s.ttl, "ttl", 10*time.Second, "how long the tasks of a node that died wait, in whole seconds")
	fs.DurationVar(&s.margin, "margin", 2*time.Second, "how long before that a node that cannot reach etcd kills its commands")
	fs.DurationVar(&s.nameWait, "name-wait", 0, "how long to wait for a predecessor's name to become free (default the -ttl and 2s)")
	fs.DurationVar(&s.drain, "drain", 30*time.Second, "how long the end may take before the commands that still run are killed")
	fs.DurationVar(&s.kill, "kill", 10*time.Second, "how long a command that is asked to end with SIGTERM has before SIGKILL")
	fs.DurationVar(&s.retry, "retry", 5*time.Second, "pause before a task that could not run here is handed over")
	fs.BoolVar(&s.stateful, "stateful", false, "keep the states of tasks: failing commands are tried again, all can be paused, resumed and killed")
	fs.DurationVar(&s.backoff.Base, "backoff", 10*time.Second, "with -stateful: how long a command waits after it failed; each further wait is twice as long")
	fs.DurationVar(&s.backoff.Max, "max-backoff", time.Hour, "with -stateful: the longest of these waits")
	fs.IntVar(&s.backoff.Limit, "failures", 8, "with -stateful: at how many failures within a day a command is given up, 0 for never")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if s.nameWait == 0 {
		s.nameWait = s.ttl + 2*time.Second
	}
	if err := s.validate(fs); err != nil {
		fmt.Fprintln(stderr, "koalemosd:", err)
		return nil, err
	}
	if s.demo {
		s.conn.Endpoints = []string{"http://127.0.0.1:0"} // a free port
	}
	return s, nil
}

// validate finds what no other part of the program would.
func (s *settings) validate(fs *flag.FlagSet) error {
	if fs.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if err := metafora.ValidateID(s.name); err != nil {
		return fmt.Errorf("-name: %w", err)
	}
	if err := s.validateSet(fs); err != nil {
		return err
	}
	switch {
	case s.kill <= 0 || s.kill >= s.drain:
		return fmt.Errorf("-kill %v is not between 0 and -drain %v", s.kill, s.drain)
	case s.retry < 0:
		return fmt.Errorf("-retry %v is negative", s.retry)
	case s.margin <= 0:
		return fmt.Errorf("-margin %v is not positive", s.margin)
	case s.backoff.Base <= 0 || s.backoff.Base > s.backoff.Max:
		return fmt.Errorf("-backoff %v is not between 0 and -max-backoff %v", s.backoff.Base, s.backoff.Max)
	case s.backoff.Limit < 0 || s.backoff.Limit > statemachine.MaxErrors:
		return fmt.Errorf("-failures %d is not between 0 and %d", s.backoff.Limit, statemachine.MaxErrors)
	case s.dev:
		_, _, err := s.devAddress()
		return err
	}
	return nil
}

var (
	// demoFlags may stand beside -demo.
	demoFlags = []string{"demo", "namespace", "output", "log"}
	// statefulFlags need -stateful.
	statefulFlags = []string{"backoff", "max-backoff", "failures"}
)

// validateSet finds flags that are set but would be ignored.
func (s *settings) validateSet(fs *flag.FlagSet) (err error) {
	fs.Visit(func(f *flag.Flag) {
		why := ""
		switch {
		case s.demo && !slices.Contains(demoFlags, f.Name):
			why = "with -demo"
		case !s.dev && f.Name == "data":
			why = "without -dev"
		case !s.stateful && slices.Contains(statefulFlags, f.Name):
			why = "without -stateful"
		default:
			return
		}
		err = fmt.Errorf("-%s %v has no meaning %s", f.Name, f.Value, why)
	})
	return err
}

// hints returns what to try with a node of -dev.
func (s *settings) hints() string {
	ctl := "go run ./examples/koalemosctl"
	if e := s.conn.Endpoints[0]; e != koalemos.DefaultEndpoint {
		ctl += " -etcd " + e
	}
	if ns := s.conn.Namespace; ns != koalemos.DefaultNamespace {
		ctl += " -namespace " + ns
	}
	return "to have it run a command, and to look at it, type in another terminal:\n" +
		"\t" + ctl + " sleep 60\n" +
		"\t" + ctl + " tasks\n"
}

// devAddress returns where the etcd of -dev has to listen.
func (s *settings) devAddress() (host string, port int, err error) {
	u, err := url.Parse(s.conn.Endpoints[0])
	if err != nil {
		return "", 0, fmt.Errorf("-etcd: %w", err)
	}
	port, err = strconv.Atoi(u.Port())
	if err != nil {
		return "", 0, fmt.Errorf("-etcd: port %q: %w", u.Port(), err)
	}
	if len(s.conn.Endpoints) > 1 || u.Scheme != "http" || net.ParseIP(u.Hostname()) == nil {
		return "", 0, fmt.Errorf("-etcd %q: -dev needs one like %s", s.conn.Endpoints, koalemos.DefaultEndpoint)
	}
	return u.Hostname(), port, nil
}

// labels are what this node tells the others of itself.
func (s *settings) labels() map[string]string {
	if !s.stateful {
		return nil
	}
	return map[string]string{koalemos.LabelStateful: koalemos.StatefulYes}
}
