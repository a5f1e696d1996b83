// Package syscall exports nothing to plugins.
package syscall

import "reflect"

// Symbols are none.
var Symbols map[string]map[string]reflect.Value
