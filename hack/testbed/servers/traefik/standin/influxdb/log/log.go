// Package log has the logger that Traefik turns off.
package log

// Logger logs nothing.
type Logger interface{}

// Log is the logger of the client.
var Log Logger
