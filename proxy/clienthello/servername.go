package clienthello

import "golang.org/x/crypto/cryptobyte"

// Codes and lengths of RFC 8446, section 4.1.2, RFC 6066, section 3,
// RFC 1035, section 2.3.4, and RFC 9849, section 5.
const (
	randomLen           = 32
	maxSessionID        = 32
	extensionServerName = 0
	extensionECH        = 0xfe0d
	echOuter            = 0
	nameTypeHost        = 0
	maxHost             = 253
	maxLabel            = 63
)

// serverName returns the host name in a complete ClientHello message, and whether the
// message is the outer one of an Encrypted ClientHello, or looks like it.
func serverName(message []byte) (host string, outer bool, err error) {
	extensions, err := extensions(message)
	if err != nil {
		return "", false, err
	}
	names, outer, err := serverNames(extensions)
	if err != nil {
		return "", false, err
	}
	name, err := hostName(names)
	if err != nil {
		return "", false, err
	}
	host, err = canonical(name)
	return host, outer, err
}

// extensions returns the extensions of the message. In TLS 1.2 and older, a message
// may have none.
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

// serverNames returns the ServerNameList of the server_name extension, and whether there
// is an encrypted_client_hello extension of type outer. It checks every extension and
// refuses malformed ones and a second server_name, because the backend might parse them
// differently. It does not look into the encrypted_client_hello: that is the backend's.
func serverNames(extensions cryptobyte.String) (names cryptobyte.String, outer bool, err error) {
	for !extensions.Empty() {
		var kind uint16
		var body cryptobyte.String
		if !extensions.ReadUint16(&kind) || !extensions.ReadUint16LengthPrefixed(&body) {
			return nil, false, Malformed
		}
		if kind == extensionECH && len(body) > 0 && body[0] == echOuter {
			outer = true
		}
		if kind != extensionServerName {
			continue
		}
		if names != nil || !body.ReadUint16LengthPrefixed(&names) || names.Empty() || !body.Empty() {
			return nil, false, Malformed
		}
	}
	return names, outer, nil
}

// hostName returns the only name of type host_name. It ignores names of other types,
// which RFC 6066 permits.
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

// canonical returns the name in lower case if it is a host name: labels of letters,
// digits, hyphens and underscores, which real names contain. A name with a last
// label of digits only is read as an IP address, and refused.
func canonical(name []byte) (string, error) {
	if len(name) > maxHost {
		return "", BadServerName
	}
	var lower [maxHost]byte
	label, numeric := 0, true // length of the current label, and whether it has only digits
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
