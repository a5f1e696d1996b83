// Package eventloop forwards TLS connections: it reads the ClientHello of each,
// asks the routing table where the host's connections go, dials there, and
// moves bytes both ways, untouched, until both sides have ended.
//
// # Reading it
//
//   - conn.go has the life of one connection, state by state; opening.go,
//     hellos.go, dial.go and refusal.go are chapters of it.
//   - flow.go moves the bytes of one direction, by copy or by splice(2); flush.go
//     those of a side that is dead.
//   - loop.go is one thread that serves many connections by turns;
//     acceptor.go is its share in the listeners, wheel.go its timeouts.
//   - forwarder.go starts and drains the loops, balance.go lets more of them
//     accept when one is busy.
//   - kernel.go is every system call that can fail in an interesting way.
//
// # Why not a goroutine for each direction
//
// Two goroutines and io.Copy are the ordinary way, and cost twice the
// processor time a connection, 80 times the memory an idle one, and two pipes
// a spliced one. Here an idle connection is a struct of 240 bytes and its two
// sockets; buffers and pipes are lent while bytes are under way.
//
// The loops use raw system calls on descriptors that never block, and are the
// only ones to touch their connections. Whatever may block runs elsewhere:
// names are resolved by goroutines (resolver.go), log lines written by one
// (journal.go). What they bring comes to the loop by attempt.answer (attempt.go), which
// drops an answer that nobody waits for any more.
//
// Linux only. It must not import Kubernetes, nor the controllers.
package eventloop
