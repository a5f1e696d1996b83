// Package source translates the ingress objects of a member cluster into claims:
// one claim for each host that an annotated object requests, with the refusal if
// the host may not be published. Each kind of object has a From function. Deny is
// the default: an object without the annotation makes no claim, and an object
// that cannot be read completely is refused, never guessed. The package also reads
// the addresses of the ingress from its Service.
//
// The package is pure: no I/O, no goroutine, no clock, no client. The functions of
// a [Context] look up other objects. Of controllers, it must import only its own
// subpackages and message.
package source
