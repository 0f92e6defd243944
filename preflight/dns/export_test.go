package dns

// Trusted is what Query believes an AD bit of.
var Trusted = trusted
