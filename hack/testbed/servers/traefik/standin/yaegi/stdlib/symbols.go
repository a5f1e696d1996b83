// Package stdlib exports nothing to plugins.
package stdlib

import "reflect"

// Symbols are none.
var Symbols map[string]map[string]reflect.Value
