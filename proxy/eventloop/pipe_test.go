package eventloop

import (
	"testing"

	"github.com/jovalle/usher/hack/test/testkit"
)

// A pipe with bytes of one connection must not be used for another.
func TestPipesWithBytesAreNotReused(t *testing.T) {
	testkit.CheckDescriptors(t)
	k := realKernel
	p := pipes{kernel: &k}
	clean, used := p.get(), p.get()
	used.held = 1
	p.put(used)
	p.put(clean)
	if again := p.get(); again != clean {
		t.Error("a pipe was lent that still held bytes")
	}
	if more := p.get(); more == used {
		t.Error("a pipe was lent that still held bytes")
	} else {
		p.put(more)
	}
	p.put(clean)
	p.closeAll()
	if p.open != 0 {
		t.Errorf("%d pipes are counted as open", p.open)
	}
}

func TestPipesAreBounded(t *testing.T) {
	testkit.CheckDescriptors(t)
	k := realKernel
	p := pipes{kernel: &k}
	var lent []*pipe
	for one := p.get(); one != nil; one = p.get() {
		lent = append(lent, one)
	}
	if len(lent) != maxPipes {
		t.Errorf("%d pipes were returned, want %d", len(lent), maxPipes)
	}
	for _, one := range lent {
		p.put(one)
	}
	if len(p.free) != maxFreePipes {
		t.Errorf("%d pipes are kept, want %d", len(p.free), maxFreePipes)
	}
	p.closeAll()
}
