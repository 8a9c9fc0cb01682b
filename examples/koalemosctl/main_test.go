package main

import (
	"net"
	"strings"
	"testing"
)

func TestExitStatusAndMessage(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it accepts connections, but nobody answers on them
	silent := l.Addr().String()

	const refused = "127.0.0.1:1" // no port that anybody gets by chance

	for _, tc := range []struct {
		args   string
		status int
		want   string // in stderr
	}{
		{"", 0, "koalemosctl [flags] tasks"},
		{"-help", 0, "-namespace prefix"},
		{"tasks -help", 0, "koalemosctl [flags] tasks"},
		{"-nosuch tasks", 2, "-nosuch"},
		{"-timeout -1s tasks", 2, "-1s"},
		{"-etcd nowhere tasks", 2, "nowhere"},
		{"tasks extra", 2, `"extra"`},
		{"-at 25:00 date", 2, "25:00"},
		{"-every 1h tasks", 2, "-every"},
		{"-cacert /no/such/file tasks", 1, "/no/such/file"},
		{"-timeout 200ms -etcd " + silent + " tasks", 1, silent},
		{"-timeout 200ms -etcd https://" + silent + " tasks", 1, "https://" + silent},
		{"-timeout 200ms -etcd " + refused + " tasks", 1, refused + ": connect: connection refused"},
		{"-timeout 200ms -etcd " + silent + "," + refused + " tasks", 1, silent + ", http://" + refused},
	} {
		var stdout, stderr strings.Builder
		status := run(t.Context(), strings.Fields(tc.args), &stdout, &stderr)
		if status != tc.status || !strings.Contains(stderr.String(), tc.want) {
			t.Errorf("%s: status %d, want %d with a message that names %s; got\n%s", tc.args, status, tc.status, tc.want, stderr.String())
		}
		if stdout.Len() > 0 {
			t.Errorf("%s: unexpected output: %s", tc.args, stdout.String())
		}
	}
}
