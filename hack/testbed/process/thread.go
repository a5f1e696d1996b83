package process

import (
	"runtime"
	"sync"
)

// onLastingThread runs start on a thread that lives as long as this process. The parent whose
// death PR_SET_PDEATHSIG waits for is the thread that forked, not the process, and Go ends
// threads when it likes.
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
