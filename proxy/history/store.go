package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	filePattern = "history-*.jsonl"
	fileName    = "history-%08d.jsonl"
	countsName  = "history-counts.json"
	lockName    = "history.lock"
	tempPrefix  = ".history-"

	// files is how many files the journal is spread over: the oldest is removed as a whole.
	files = 8

	// maxLine is the maximum length of a line that is read, in bytes.
	maxLine = 64 << 10

	// maxUnwritten bounds the lines that wait while the disk is full, in bytes.
	maxUnwritten = 4 << 20

	// maxInMemory is the maximum number of lines without a directory.
	maxInMemory = 4096
)

// store has the lines of the journal: in the files of a directory, or in memory.
//
// The newest file is appended to and synced after each batch. When it is long enough, the
// next one begins with the hosts that are public then, so that each file can be read
// alone. It is written under another name and renamed when it is complete.
type store struct {
	dir   string // empty: in memory
	age   time.Duration
	size  int64
	isNew bool // there was no journal

	number int // of the newest file
	lock   *os.File
	file   *os.File
	length int64 // of the complete lines in file
	fresh  int64 // of them, what the file began with

	memory *memory
}

// memory has the latest lines if there is no directory.
type memory struct {
	mu    sync.Mutex
	lines [][]byte
}

// errInUse means that another process writes the journal.
var errInUse = errors.New("another process writes the history")

// openStore opens the newest file, and removes what a kill has left behind: an incomplete
// last line, and files under a temporary name.
func openStore(o Options, memory *memory) (_ *store, err error) {
	s := &store{dir: o.Dir, age: o.Age, size: o.Size, isNew: true, memory: memory}
	if s.dir == "" {
		return s, nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the directory of the history: %w", err)
	}
	if s.lock, err = lock(filepath.Join(s.dir, lockName)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	left, _ := filepath.Glob(filepath.Join(s.dir, tempPrefix+"*"))
	for _, name := range left {
		_ = os.Remove(name)
	}
	names := filesIn(s.dir)
	if len(names) == 0 {
		return s, s.begin(nil)
	}
	s.isNew = false
	newest := names[len(names)-1]
	if _, err = fmt.Sscanf(filepath.Base(newest), fileName, &s.number); err != nil {
		return nil, fmt.Errorf("%s: %w", newest, err)
	}
	if s.file, err = os.OpenFile(newest, os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("open the history: %w", err)
	}
	if s.length, err = completeLength(s.file); err == nil {
		err = s.cut()
	}
	return s, err
}

// filesIn returns the files of the journal in a directory, the oldest first.
func filesIn(dir string) []string {
	names, _ := filepath.Glob(filepath.Join(dir, filePattern)) // the pattern is valid
	slices.Sort(names)
	return names
}

// completeLength returns the length of a file without an incomplete last line.
func completeLength(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	block := make([]byte, maxLine)
	for end := info.Size(); end > 0; {
		start := max(0, end-int64(len(block)))
		n, err := file.ReadAt(block[:end-start], start)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if at := bytes.LastIndexByte(block[:n], '\n'); at >= 0 {
			return start + int64(at) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// cut removes what is behind the complete lines: the rest of a write that was interrupted.
func (s *store) cut() error {
	if err := s.file.Truncate(s.length); err != nil {
		return err
	}
	_, err := s.file.Seek(s.length, io.SeekStart)
	return err
}

// append writes complete lines and syncs them. If the file is long enough, the next one
// begins, with the lines that held returns.
func (s *store) append(lines []byte, held func() []Line) error {
	if s.dir == "" {
		s.memory.add(lines)
		return nil
	}
	_, err := s.file.Write(lines)
	if err == nil {
		err = s.file.Sync()
	}
	if err != nil {
		return errors.Join(err, s.cut())
	}
	if s.length += int64(len(lines)); s.length-s.fresh > s.size/files {
		if s.begin(held()) == nil { // else after the next lines
			s.expire(time.Now())
		}
	}
	return nil
}

// add adds lines, and removes the oldest beyond maxInMemory.
func (m *memory) add(lines []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for line := range bytes.Lines(lines) {
		m.lines = append(m.lines, bytes.Clone(line))
	}
	if extra := len(m.lines) - maxInMemory; extra > 0 {
		m.lines = slices.Delete(m.lines, 0, extra)
	}
}

// begin makes the next file the newest.
func (s *store) begin(held []Line) error {
	var text bytes.Buffer
	for i := range held {
		line, err := json.Marshal(&held[i])
		if err != nil {
			return err
		}
		text.Write(append(line, '\n'))
	}
	path := filepath.Join(s.dir, fmt.Sprintf(fileName, s.number+1))
	file, err := s.replace(path, text.Bytes())
	if err != nil {
		return err
	}
	if s.file != nil {
		_ = s.file.Close()
	}
	s.number, s.file, s.length, s.fresh = s.number+1, file, int64(text.Len()), int64(text.Len())
	return nil
}

// replace writes a file under a temporary name, and renames it when it is on the disk. It
// returns the open file.
func (s *store) replace(path string, text []byte) (*os.File, error) {
	temp, err := os.CreateTemp(s.dir, tempPrefix)
	if err != nil {
		return nil, err
	}
	if _, err = temp.Write(text); err == nil {
		err = temp.Sync()
	}
	if err == nil {
		err = os.Rename(temp.Name(), path) //nolint:gosec // G703: both are in the directory that the operator names
	}
	if err != nil {
		return nil, errors.Join(err, temp.Close(), os.Remove(temp.Name())) //nolint:gosec // G703: as above
	}
	return temp, nil
}

func (s *store) close() {
	for _, file := range []*os.File{s.file, s.lock} {
		if file != nil {
			_ = file.Close()
		}
	}
}

// expire removes the oldest files while there are too many bytes, and those whose last
// line is too old. It keeps the newest.
func (s *store) expire(now time.Time) {
	if s.dir == "" {
		return
	}
	names := filesIn(s.dir)
	sizes, total := make([]int64, len(names)), int64(0)
	ages := make([]time.Duration, len(names))
	for i, name := range names {
		if info, err := os.Stat(name); err == nil {
			sizes[i], ages[i] = info.Size(), now.Sub(info.ModTime())
		}
		total += sizes[i]
	}
	for i := range len(names) - 1 {
		if total <= s.size && ages[i] <= s.age {
			return
		}
		_ = os.Remove(names[i])
		total -= sizes[i]
	}
}

// current returns the newest file, or nothing without a directory.
func (s *store) current() []string {
	if s.dir == "" {
		return nil
	}
	names := filesIn(s.dir)
	return names[max(0, len(names)-1):]
}

// each calls f for each line of the files.
func (s *store) each(names []string, f func(*Line)) error {
	for _, name := range names {
		if err := eachLine(name, f); err != nil {
			return err
		}
	}
	return nil
}

// eachLine calls f for each line of a file that can be read: a damaged line, and one of a
// newer usher, hides no other.
func eachLine(name string, f func(*Line)) error {
	file, err := os.Open(name) //nolint:gosec // a file of the operator's own directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has expired
	}
	if err != nil {
		return fmt.Errorf("read the history: %w", err)
	}
	defer file.Close()
	lines := bufio.NewReaderSize(file, maxLine)
	for {
		text, err := lines.ReadSlice('\n')
		switch {
		case err == nil:
			readLine(text, f)
		case errors.Is(err, bufio.ErrBufferFull):
			// The rest is no line either.
		case errors.Is(err, io.EOF):
			return nil
		default:
			return fmt.Errorf("read the history: %w", err)
		}
	}
}

func readLine(text []byte, f func(*Line)) {
	var line Line
	if json.Unmarshal(text, &line) == nil && line.Event != "" {
		f(&line)
	}
}

// storedCounts are the counts of the public hosts when usher ran last.
type storedCounts struct {
	Time  time.Time         `json:"time"`
	Hosts map[string]counts `json:"hosts"`
}

func (s *store) readCounts() storedCounts { return readCounts(s.dir) }

// readCounts returns the counts in a directory; none if they cannot be read, as they are
// only a detail.
func readCounts(dir string) storedCounts {
	var stored storedCounts
	if dir != "" {
		if text, err := os.ReadFile(filepath.Join(dir, countsName)); err == nil { //nolint:gosec // a file of the operator's own directory
			_ = json.Unmarshal(text, &stored)
		}
	}
	return stored
}

func (s *store) writeCounts(stored storedCounts) {
	if s.dir == "" {
		return
	}
	text, err := json.Marshal(stored)
	if err != nil {
		return
	}
	if file, err := s.replace(filepath.Join(s.dir, countsName), text); err == nil {
		_ = file.Close()
	}
}
