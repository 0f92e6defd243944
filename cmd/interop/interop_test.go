//go:build interop

package interop

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var keep = flag.Bool("keep", false, "keep what every server wrote, when all went well too")

// TestMain prepares what needs the outside (packages, a compiler), then goes on
// in namespaces of its own.
func TestMain(m *testing.M) {
	flag.Parse()
	if inside() {
		os.Exit(m.Run())
	}
	code, err := sandboxed()
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
	t.Cleanup(func() {
		w.table.print(os.Stdout)
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
			Cmds:               commands,
		})
	})
}
