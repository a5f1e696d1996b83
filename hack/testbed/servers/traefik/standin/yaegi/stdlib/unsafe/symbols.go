// Package unsafe exports nothing to plugins.
package unsafe

import "reflect"

// Symbols are none.
var Symbols map[string]map[string]reflect.Value
