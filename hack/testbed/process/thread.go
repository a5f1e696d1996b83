package process

import (
	"runtime"
	"sync"
)

// onLastingThread runs start on a thread that exists as long as this process. PR_SET_PDEATHSIG sends
// its signal when the thread that forked ends, not the process, and the Go runtime may end a thread
// at any time.
func onLastingThread(start func() error) error {
	result := make(chan error)
	lastingThread() <- func() { result <- start() }
	return <-result
}

var lastingThread = sync.OnceValue(func() chan<- func() {
	jobs := make(chan func())
	go func() {
		runtime.LockOSThread() // for good: this goroutine never returns
		for job := range jobs {
			job()
		}
	}()
	return jobs
})
