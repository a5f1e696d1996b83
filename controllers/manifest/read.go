package manifest

import (
	"context"
	"runtime"

	"golang.org/x/sync/errgroup"
)

// read returns the good objects of a file, and all of its mistakes. The result is
// invalid if ctx has ended.
func read(ctx context.Context, name string, data []byte) (objects, []mistake) {
	documents, mistakes := split(name, withoutBOM(data))
	if len(documents) == 0 && len(mistakes) == 0 {
		return objects{}, []mistake{{message: "is empty: delete the file to withdraw its hosts"}}
	}
	opened, wrong := openAll(ctx, documents)
	mistakes = append(mistakes, wrong...)
	found, wrong := decodeAll(ctx, opened, validate)
	return found, append(mistakes, wrong...)
}

// openAll converts all documents to JSON and replaces Lists by their items.
func openAll(ctx context.Context, documents []document) (all []document, mistakes []mistake) {
	type result struct {
		opened []document
		wrong  []mistake
	}
	results := inParallel(ctx, documents, func(d document) (r result) {
		if d, r.wrong = d.toJSON(); len(r.wrong) == 0 {
			r.opened, r.wrong = d.open()
		}
		return r
	})
	for _, r := range results {
		all = append(all, r.opened...)
		mistakes = append(mistakes, r.wrong...)
	}
	return all, mistakes
}

// decodeAll decodes all objects. A duplicate object is a mistake.
func decodeAll(ctx context.Context, documents []document, validate validator) (all objects, mistakes []mistake) {
	type result struct {
		object object
		key    key
		wrong  []mistake
	}
	results := inParallel(ctx, documents, func(d document) (r result) {
		r.object, r.key, r.wrong = d.object(ctx, validate)
		return r
	})
	first := make(map[key]position, len(documents)) // key → position of its first object
	for i, r := range results {
		at := documents[i].position
		earlier, duplicate := first[r.key]
		switch {
		case len(r.wrong) > 0:
			mistakes = append(mistakes, r.wrong...)
			all.mistaken = append(all.mistaken, documents[i].hostOf())
		case duplicate:
			mistakes = append(mistakes, duplicateOf(at, r.key, place{position: earlier}))
		default:
			first[r.key] = at
			all.add(r.object, at)
		}
	}
	return all, mistakes
}

// inParallel calls f for each element on all cores, and returns the results in the same
// order. There may be 100,000 objects, and each takes about 0.1 ms. It stops early when
// ctx ends; the other results are zero.
func inParallel[In, Out any](ctx context.Context, in []In, f func(In) Out) []Out {
	const chunk = 64
	out := make([]Out, len(in))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for begin := 0; begin < len(in) && ctx.Err() == nil; begin += chunk {
		group.Go(func() error {
			for i := begin; i < min(begin+chunk, len(in)); i++ {
				out[i] = f(in[i])
			}
			return nil
		})
	}
	_ = group.Wait() // no function fails
	return out
}
