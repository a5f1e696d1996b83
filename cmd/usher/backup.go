//go:build linux && !nostandalone

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/jovalle/usher/controllers/apiserver"
	"github.com/jovalle/usher/controllers/standalone"
)

// backup writes the file. While usher runs, its etcd is asked; else one is started.
func (o *standaloneOptions) backup(ctx context.Context, file string) error {
	dir := standalone.Dir(absolute(o.dir))
	if _, err := os.Stat(dir.CA()); err != nil {
		return badFlag("dir", "%s is no directory of usher run --standalone, or may not be read: %w", dir, err)
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	err = dir.WriteBackup(file, func(out *json.Encoder) error {
		save := func() error {
			return apiserver.Save(ctx, func(object apiserver.Object) error { return out.Encode(object) })
		}
		if dir.Busy() {
			if err := os.Chdir(dir.Store()); err != nil {
				return err
			}
			return save()
		}
		unlock, err := dir.Lock(ctx)
		if err != nil {
			return err
		}
		defer unlock()
		return apiserver.WithStore(ctx, dir.Store(), save)
	})
	if err != nil {
		return fmt.Errorf("back up %s: %w", dir, err)
	}
	return nil
}

// restore makes the directory.
func (o *standaloneOptions) restore(ctx context.Context, file string) error {
	dir := standalone.Dir(absolute(o.dir))
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	err = dir.Restore(ctx, file, func(ctx context.Context, store string, objects *json.Decoder) error {
		return apiserver.Restore(ctx, store, func() (object apiserver.Object, more bool, _ error) {
			err := objects.Decode(&object)
			if errors.Is(err, io.EOF) {
				return object, false, nil
			}
			return object, true, err
		})
	})
	if err != nil {
		return fmt.Errorf("restore %s: %w", dir, err)
	}
	return nil
}
