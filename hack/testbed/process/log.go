package process

import (
	"fmt"
	"io"
	"os"
)

// tailBytes is how much of a log an error contains: about ten lines.
const tailBytes = 2000

// logTail returns a sentence with the end of the process's log.
func (p *Process) logTail() string {
	tail, err := readTail(p.log, tailBytes)
	if err != nil {
		return fmt.Sprintf("its log cannot be read: %v", err)
	}
	return fmt.Sprintf("the end of %s:\n%s", p.log, tail)
}

func readTail(path string, n int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(file, max(0, info.Size()-n), n))
}
