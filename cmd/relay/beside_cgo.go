//go:build cgo

package main

// beside is what the store has in memory that the runtime does not count, octets: with
// cgo Pebble's cache and memory tables are C's.
const beside = 72 << 20
