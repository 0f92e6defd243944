//go:build interop

package interop

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var keep = flag.Bool("keep", false, "keep what every server wrote, when all went well too")

// TestMain prepares what needs the outside (packages, a compiler), then goes on
// in namespaces of its own.
func TestMain(m *testing.M) {
	flag.Parse()
	var code int
	var err error
	if inside() {
		if err = settleIn(os.Getenv(workEnv)); err == nil {
			code = m.Run()
		}
	} else {
		code, err = sandboxed()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func TestSetups(t *testing.T) {
	w, err := newWorld()
	if err != nil {
		t.Fatal(err)
	}
	// Before the alarm of package testing goes off: what was seen so far.
	if end, ok := t.Deadline(); ok {
		alarm := time.AfterFunc(time.Until(end)-10*time.Second, func() {
			w.table.print(os.Stdout)
			fmt.Println("interop: not done in time")
			os.Exit(1)
		})
		defer alarm.Stop()
	}
	t.Cleanup(func() {
		if n := w.table.print(os.Stdout); n > 0 {
			t.Errorf("%d not as expected", n)
		}
		for _, r := range w.receivers {
			if ids, err := r.twice(); err != nil || ids != nil {
				t.Errorf("%s got mail more than once: %v %v", r.name, ids, err)
			}
		}
		if err := w.forecasts.hold(); err != nil {
			t.Error(err)
		}
	})
	t.Run("all", func(t *testing.T) { // until every parallel script has ended
		testscript.Run(t, testscript.Params{
			Dir:                "testdata/setup",
			RequireUniqueNames: true,
			ContinueOnError:    true,
			Setup:              w.setup,
			Cmds:               commands(),
		})
	})
}
