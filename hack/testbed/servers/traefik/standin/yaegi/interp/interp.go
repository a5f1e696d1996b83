// Package interp stands in for the interpreter of Traefik's plugins that this Traefik build leaves out: it
// runs nothing.
package interp

import (
	"errors"
	"io"
	"reflect"
)

type (
	// Options configure an Interpreter.
	Options struct {
		GoPath         string
		Env            []string
		Stdout, Stderr io.Writer
	}
	// Exports are symbols by package.
	Exports map[string]map[string]reflect.Value
	// Interpreter runs nothing.
	Interpreter struct{}
)

func New(Options) *Interpreter { return &Interpreter{} }

func (*Interpreter) Use(Exports) error { return errors.ErrUnsupported }

func (*Interpreter) Eval(string) (reflect.Value, error) {
	return reflect.Value{}, errors.ErrUnsupported
}
