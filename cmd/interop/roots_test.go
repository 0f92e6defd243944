//go:build interop

package interop

import (
	"slices"

	"smtprelay/cmd/sandbox"
)

// serverPackages are on every machine that runs the relay, beside those of the
// applications.
var serverPackages = []string{"systemd", "ca-certificates", "netbase"}

// serverRoot is the private root of those machines.
const serverRoot = "server"

// rootsOf the peers: in each what those ask for that live in it.
func rootsOf(ps []*peer) sandbox.Roots {
	roots := map[string][]string{serverRoot: serverPackages}
	for _, p := range ps {
		roots[p.root] = append(roots[p.root], p.packages...)
	}
	for name, list := range roots {
		slices.Sort(list)
		roots[name] = slices.Compact(list)
	}
	return sandbox.Roots{Cache: "relay-interop", Packages: roots}
}
