// Package started reads the addresses of a usher process from its log.
package started

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
)

// Addresses are the listen addresses of a usher process; Admin is that of the admin listener.
type Addresses struct {
	HTTPS, HTTP, Admin netip.AddrPort
	TLS                map[string][]netip.AddrPort // those of --tls-listen: name → addresses
}

// ErrNotYet is returned while usher does not listen yet.
var ErrNotYet = errors.New("usher does not listen yet")

// Read reads the first address of each listener from the last line of a log file in
// which usher writes that it has started, since earlier processes may have written to
// the same file.
func Read(path string) (Addresses, error) {
	file, err := os.Open(path)
	if err != nil {
		return Addresses{}, err
	}
	defer file.Close()
	var found Addresses
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line struct {
			Message            string `json:"msg"`
			HTTPS, HTTP, Admin []netip.AddrPort
			TLS                map[string][]netip.AddrPort
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Message != "Started" {
			continue
		}
		if len(line.HTTPS) > 0 && len(line.HTTP) > 0 && len(line.Admin) > 0 {
			found = Addresses{HTTPS: line.HTTPS[0], HTTP: line.HTTP[0], Admin: line.Admin[0], TLS: line.TLS}
		}
	}
	if !found.HTTPS.IsValid() {
		return found, ErrNotYet
	}
	return found, nil
}
