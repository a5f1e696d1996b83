package dnsrecord

import (
	"fmt"
	"io"
	"strings"
)

// WriteZone writes records as lines of a zone file (RFC 1035, section 5.1), with absolute
// names. A record without a TTL of its own gets that of the file, $TTL.
func WriteZone(out io.Writer, all []Records) error {
	var zone strings.Builder
	for _, records := range all {
		for _, set := range records.Sets {
			for _, target := range set.Targets {
				zone.WriteString(line(records.Host, set, target))
			}
		}
	}
	_, err := io.WriteString(out, zone.String())
	return err
}

// line returns the line of one record. Host and target are canonical names or addresses,
// whose characters have no special meaning in a zone file.
func line(host string, set Set, target string) string {
	ttl := ""
	if set.TTL != 0 {
		ttl = fmt.Sprintf("%d ", set.TTL)
	}
	if set.Type == typeCNAME {
		target += "."
	}
	return fmt.Sprintf("%s. %sIN %s %s\n", host, ttl, set.Type, target)
}
