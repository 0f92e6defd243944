//go:build torture && mutants

package main

const withMutants = true
