package koalemos_test

import (
	"flag"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/metafora-go/metafora/examples/internal/koalemos"
)

func parse(args ...string) (*koalemos.Connection, error) {
	var c koalemos.Connection
	fs := flag.NewFlagSet("test", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	c.AddFlags(fs)
	return &c, fs.Parse(args)
}

func TestEndpoints(t *testing.T) {
	for flags, want := range map[string]string{
		"":                            "http://127.0.0.1:2379",
		"-etcd=a:1":                   "http://a:1",
		"-etcd=https://a:1,b:2":       "https://a:1 http://b:2",
		"--etcd=http://[::1]:2379":    "http://[::1]:2379",
		"-etcd=http://etcd.test:2379": "http://etcd.test:2379",
	} {
		c, err := parse(strings.Fields(flags)...)
		if err != nil {
			t.Errorf("%s: %v", flags, err)
		} else if !slices.Equal(c.Endpoints, strings.Fields(want)) {
			t.Errorf("%s: got %q, want %s", flags, c.Endpoints, want)
		}
	}
	for _, bad := range []string{"", "localhost", "ftp://a:1", "a:1,,b:2", "http://a:port"} {
		if c, err := parse("-etcd=" + bad); err == nil {
			t.Errorf("%q became %q", bad, c.Endpoints)
		}
	}
}

func TestCredentialErrorsNameTheFlag(t *testing.T) {
	for _, tc := range []struct{ flags, want string }{
		{"-cert=a.pem", "-key"},
		{"-key=a.pem", "-cert"},
		{"-cacert=/no/such/file.pem", "/no/such/file.pem"},
		{"-user=root", "KOALEMOS_PASSWORD"},
	} {
		t.Setenv("KOALEMOS_PASSWORD", "")
		c, err := parse(tc.flags)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Config(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error does not name %s: %v", tc.flags, tc.want, err)
		}
	}
}

func TestUserGetsItsPasswordFromTheEnvironment(t *testing.T) {
	t.Setenv("KOALEMOS_PASSWORD", "secret")
	c, err := parse("-user=koalemos")
	if err != nil {
		t.Fatal(err)
	}
	cc, err := c.Config()
	if err != nil {
		t.Fatal(err)
	}
	if cc.Username != "koalemos" || cc.Password != "secret" {
		t.Errorf("user %q with password %q", cc.Username, cc.Password)
	}
}
