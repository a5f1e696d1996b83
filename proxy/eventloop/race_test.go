//go:build race

package eventloop

// defaultScripts is smaller under the race detector, which is slow.
const defaultScripts = 400
