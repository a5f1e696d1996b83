// Package statuspage serves the status page: what is exposed, what is refused and why, the
// members, the names that refused clients asked for, and the latest changes.
//
// The pages are whole without JavaScript. With it they follow the state, by server-sent
// events. Everything that they need is embedded. What they show comes from objects of the
// members and from clients, so that each text is bounded, made printable and escaped.
//
// The package does not protect the page: package admin does.
package statuspage
