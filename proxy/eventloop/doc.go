// Package eventloop forwards TLS connections. It reads the ClientHello of each
// connection, looks up the host in the routing table, dials a backend, and forwards
// bytes in both directions, unchanged, until both sides have ended.
//
// # Files
//
//   - conn.go has the states of a connection; opening.go, hellos.go, dial.go and
//     refusal.go implement some of them.
//   - flow.go moves the bytes of one direction, by copying or by splice(2); flush.go
//     delivers the bytes of a side that is dead.
//   - loop.go is the event loop, one thread that serves many connections;
//     acceptor.go accepts connections for it, wheel.go has its timers.
//   - forwarder.go starts and drains the loops; balance.go decides how many of them
//     accept.
//   - kernel.go has the system calls for which tests inject errors.
//
// # Why there is no goroutine for each direction
//
// The usual way is two goroutines and io.Copy. It takes twice the processor time for
// a connection, 80 times the memory for an idle connection, and two pipes for a
// spliced connection. Here an idle connection is a struct of 240 bytes and two
// sockets. Buffers and pipes belong to a connection only while they hold bytes.
//
// The loops use raw system calls on non-blocking descriptors, and only a loop
// accesses its connections. Everything that may block runs elsewhere: goroutines
// resolve names (resolver.go), and one goroutine writes log lines (logqueue.go).
// Results reach the loop by attempt.answer (attempt.go), which drops those that the
// connection no longer waits for.
//
// Linux only. It must not import Kubernetes, nor the controllers.
package eventloop
