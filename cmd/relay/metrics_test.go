package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/rogpeppe/go-internal/testscript"
)

// metrics scrapes the daemon as Prometheus would, through its socket.
func cmdMetrics(ts *testscript.TestScript, neg bool, args []string) {
	text, err := scrape(ts.Getenv("SOCK"))
	ts.Check(err)
	_, err = ts.Stdout().Write(text)
	ts.Check(err)
}

// scrape reads the metrics of the daemon whose socket is in dir.
func scrape(dir string) ([]byte, error) {
	c := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", dir+"/admin.sock")
		},
	}}
	r, err := c.Get("http://relay/metrics")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("metrics: %s\n%s", r.Status, text)
	}
	return text, err
}
