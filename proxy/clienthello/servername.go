package clienthello

import "golang.org/x/crypto/cryptobyte"

// Codes and lengths of RFC 8446, section 4.1.2, RFC 6066, section 3, and
// RFC 1035, section 2.3.4.
const (
	randomLen           = 32
	maxSessionID        = 32
	extensionServerName = 0
	nameTypeHost        = 0
	maxHost             = 253
	maxLabel            = 63
)

// serverName returns the host that a whole ClientHello message names.
func serverName(message []byte) (string, error) {
	extensions, err := extensions(message)
	if err != nil {
		return "", err
	}
	names, err := serverNames(extensions)
	if err != nil {
		return "", err
	}
	name, err := hostName(names)
	if err != nil {
		return "", err
	}
	return canonical(name)
}

// extensions returns the message's extensions; none where it leaves them out,
// as TLS 1.2 and older may.
func extensions(message []byte) (cryptobyte.String, error) {
	s := cryptobyte.String(message)
	var version uint16
	var hello, sessionID, ciphers, compressions, extensions cryptobyte.String
	ok := s.Skip(1) && s.ReadUint24LengthPrefixed(&hello) && s.Empty() &&
		hello.ReadUint16(&version) && version>>8 == majorVersion &&
		hello.Skip(randomLen) &&
		hello.ReadUint8LengthPrefixed(&sessionID) && len(sessionID) <= maxSessionID &&
		hello.ReadUint16LengthPrefixed(&ciphers) && !ciphers.Empty() && len(ciphers)%2 == 0 &&
		hello.ReadUint8LengthPrefixed(&compressions) && !compressions.Empty() &&
		(hello.Empty() || hello.ReadUint16LengthPrefixed(&extensions) && hello.Empty())
	if !ok {
		return nil, Malformed
	}
	return extensions, nil
}

// serverNames returns the ServerNameList of the server_name extension. Every
// extension is walked over: one that is broken, or a second server_name, might
// be read otherwise by the server that the stream goes to.
func serverNames(extensions cryptobyte.String) (cryptobyte.String, error) {
	var names cryptobyte.String
	for !extensions.Empty() {
		var kind uint16
		var body cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&body) {
			return nil, Malformed
		}
		if kind != extensionServerName {
			continue
		}
		if names != nil || !body.ReadUint16LengthPrefixed(&names) || names.Empty() || !body.Empty() {
			return nil, Malformed
		}
	}
	return names, nil
}

// hostName returns the one name of type host_name. Names of other types are
// passed over: RFC 6066 keeps the door open for them.
func hostName(names cryptobyte.String) ([]byte, error) {
	var host cryptobyte.String
	for !names.Empty() {
		var kind uint8
		var name cryptobyte.String
		if !names.ReadUint8(&kind) || !names.ReadUint16LengthPrefixed(&name) || name.Empty() {
			return nil, Malformed
		}
		if kind != nameTypeHost {
			continue
		}
		if host != nil {
			return nil, BadServerName
		}
		host = name
	}
	if host == nil {
		return nil, NoServerName
	}
	return host, nil
}

// canonical returns the name in lower case if it is a host name: labels of
// letters, digits, hyphens and, as in the wild, underscores. A last label of
// digits alone makes an IP address of it.
func canonical(name []byte) (string, error) {
	if len(name) > maxHost {
		return "", BadServerName
	}
	var lower [maxHost]byte
	label, numeric := 0, true // of the label so far: its length, and whether it is all digits
	for i, c := range name {
		switch {
		case c == '.' && label > 0:
			lower[i], label, numeric = c, 0, true
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
			numeric = false
		case 'a' <= c && c <= 'z', c == '-', c == '_':
			numeric = false
		case c < '0' || c > '9':
			return "", BadServerName
		}
		if label++; label > maxLabel {
			return "", BadServerName
		}
		lower[i] = c
	}
	if label == 0 || numeric {
		return "", BadServerName
	}
	return string(lower[:len(name)]), nil
}
