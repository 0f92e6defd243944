//go:build interop

package preflight_test

const needsBIND = true
