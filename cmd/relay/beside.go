//go:build !cgo

package main

// beside is what the store has in memory that the runtime does not count, octets.
const beside = 0
