package workload

import (
	"errors"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// writeBytes sends so many bytes of no meaning.
func writeBytes(conn net.Conn, count int64) error {
	chunk := make([]byte, 256<<10)
	for count > 0 {
		n, err := conn.Write(chunk[:min(count, int64(len(chunk)))])
		if err != nil {
			return err
		}
		count -= int64(n)
	}
	return nil
}

// discardBytes receives so many bytes and drops them in the kernel (MSG_TRUNC,
// tcp(7)), so that the receiving end costs as little as it can.
func discardBytes(conn *net.TCPConn, count int64) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	chunk := make([]byte, 1<<20)
	for count > 0 {
		n, err := truncate(raw.Read, chunk[:min(count, int64(len(chunk)))])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("discard bytes: %w", err)
		case n == 0:
			return io.ErrUnexpectedEOF
		}
		count -= int64(max(n, 0))
	}
	return nil
}

// truncate receives once, waiting until there is something.
func truncate(wait func(func(fd uintptr) bool) error, chunk []byte) (n int, err error) {
	waitErr := wait(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), chunk, unix.MSG_TRUNC)
		return !errors.Is(err, unix.EAGAIN)
	})
	if waitErr != nil {
		return 0, waitErr
	}
	return n, err
}
