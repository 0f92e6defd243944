package submit

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests, or, told so by its environment, is the client of a
// benchmark: in a process of its own, so that its work is not counted.
func TestMain(m *testing.M) {
	if os.Getenv(loadEnv) != "" {
		if err := load(os.Getenv(loadEnv)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}
