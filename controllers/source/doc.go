// Package source translates the ingress objects of a member cluster into claims:
// one claim for each host that an annotated object wishes to publish, or the
// refusal that stands in its way. Each kind of object has a From function, and
// what they share is that deny is the default: an object without the
// annotation makes no claim, and one that cannot be read completely is refused,
// never guessed. It also reads the addresses of the ingress from its Service.
//
// The package is pure: no I/O, no goroutine, no clock, no client. What must be
// looked up beyond the object itself comes as functions of a [Context]. It must
// import no other package of controllers than its own parts and the messages.
package source
