package preflight

// OfThisMachine are the checks that have nothing to say of another one.
var OfThisMachine = ofThisMachine
