package main

import (
	"context"
	"io"
	"net"
	"net/http"

	"github.com/rogpeppe/go-internal/testscript"
)

// metrics scrapes the daemon as Prometheus would, through its socket.
func cmdMetrics(ts *testscript.TestScript, neg bool, args []string) {
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", ts.Getenv("SOCK")+"/admin.sock")
		},
	}}
	r, err := c.Get("http://relay/metrics")
	ts.Check(err)
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	ts.Check(err)
	if r.StatusCode != http.StatusOK {
		ts.Fatalf("metrics: %s\n%s", r.Status, text)
	}
	_, err = ts.Stdout().Write(text)
	ts.Check(err)
}
