//go:build !race

package eventloop

const defaultScripts = 2000
