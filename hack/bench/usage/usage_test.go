package usage

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

func TestAChildsTimeCountsAsItsParents(t *testing.T) {
	parties := Parties{Proxy: []int{os.Getpid()}}
	before, err := ReadCPU(parties)
	if err != nil {
		t.Fatal(err)
	}
	busy := exec.CommandContext(t.Context(), "sh", "-c", "while :; do :; done")
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = busy.Process.Kill()
		_ = busy.Wait()
	}()
	var own CPU
	testkit.WaitFor(t, "50 ms of a busy loop", func() bool {
		own, err = ReadCPU(Parties{Proxy: []int{busy.Process.Pid}})
		testkit.Must(t, err)
		return own.Proxy >= 50*time.Millisecond
	})
	after, err := ReadCPU(parties)
	if err != nil {
		t.Fatal(err)
	}
	if used := after.Proxy - before.Proxy; used < own.Proxy {
		t.Errorf("the parent has used %v, its child alone %v", used, own.Proxy)
	}
	if total := after.TotalSince(before); total < own.Proxy {
		t.Errorf("all have used %v, the child alone %v", total, own.Proxy)
	}
}

func TestMemoryAndDescriptorsAreSeen(t *testing.T) {
	parties := Parties{Proxy: []int{os.Getpid()}}
	before, err := ReadMemory(parties)
	if err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	held := make([]byte, size)
	for i := 0; i < size; i += os.Getpagesize() {
		held[i] = 1
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	after, err := ReadMemory(parties)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.User - before.User; grown < size*9/10 {
		t.Errorf("%d bytes more seem to be %d", len(held), grown)
	}
	if opened := after.Descriptors - before.Descriptors; opened < 1 {
		t.Errorf("a file opened seems to be %d", opened)
	}
	if after.Kernel <= 0 {
		t.Errorf("the kernel seems to hold %d bytes", after.Kernel)
	}
}

func TestAProcessThatIsGoneIsAnError(t *testing.T) {
	ended := exec.CommandContext(t.Context(), "true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadCPU(Parties{Proxy: []int{ended.Process.Pid}}); err == nil {
		t.Error("its time was read")
	}
}
