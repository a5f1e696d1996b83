// Package history keeps a journal of what was public: a line for each host that is
// exposed, withdrawn, moved or changed, with the object that asked for it. The journal is
// in files of JSON lines in the state directory, or in memory if there is none.
//
// The journal is bounded in size, in age, and in the changes of one cluster. A kill at any
// moment leaves every complete line. A full disk delays lines and then drops them, which a
// line says; it never delays a change of the routing table.
package history
