// Package write has the points that are not written.
package write

// Point is a measurement.
type Point struct{}
