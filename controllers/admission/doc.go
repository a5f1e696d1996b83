// Package admission decides, for one host, which claim holds it and why the
// others do not: named checks over each claim, one after another, and then one
// order among those that pass. The same input in any order gives the same
// decision.
//
// The package is pure: no I/O, no goroutine, no clock, no client. It must
// import of controllers only source and the reasons.
package admission
