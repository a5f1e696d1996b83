package stage

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
)

// started is the line that usher logs once it listens.
type started struct {
	Message string           `json:"msg"`
	HTTPS   []netip.AddrPort `json:"https"`
	HTTP    []netip.AddrPort `json:"http"`
	Admin   []netip.AddrPort `json:"admin"`
}

// readAddresses takes usher's addresses from the last such line of its log.
func (s *Stage) readAddresses(log string) error {
	file, err := os.Open(log)
	if err != nil {
		return err
	}
	defer file.Close()
	found := errors.New("usher does not listen yet")
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var line started
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Message != "Started" {
			continue
		}
		if len(line.HTTPS) > 0 && len(line.HTTP) > 0 && len(line.Admin) > 0 {
			s.HTTPS, s.HTTP, s.API = line.HTTPS[0], line.HTTP[0], line.Admin[0]
			found = nil
		}
	}
	return found
}
