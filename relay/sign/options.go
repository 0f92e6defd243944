package sign

import "crypto"

// Options of signing.
type Options struct {
	Keys []Key
	// Live says whether the key's record has been seen at the authoritative
	// servers, or may sign all the same; no other key does. nil: every key does.
	Live func(domain, selector string) bool
}

// Key is one selector of one domain.
type Key struct {
	Domain   string // canonical
	Selector string
	Signer   crypto.Signer // RSA of at least 1024 bits (RFC 8301), or Ed25519 (RFC 8463)
}
