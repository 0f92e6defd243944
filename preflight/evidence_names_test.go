package preflight_test

import (
	"slices"
	"testing"

	"smtprelay/preflight"
)

// Every check that a reply names is one of the catalogue.
func TestSayingsNameChecks(t *testing.T) {
	for _, id := range preflight.Named() {
		if !slices.ContainsFunc(preflight.Checks, func(c *preflight.Check) bool { return c.ID == id }) && !slices.Contains(later, id) {
			t.Errorf("there is no check %s", id)
		}
	}
}
