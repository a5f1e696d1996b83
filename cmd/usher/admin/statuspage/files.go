package statuspage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"
	"path"
	"time"
)

//go:embed static/style.css static/page.js static/icon.svg
var embedded embed.FS

// file is a file that the pages load.
type file struct {
	name, contentType, etag string
	content                 []byte
}

var files = []*file{
	load("style.css", "text/css; charset=utf-8"),
	load("page.js", "text/javascript; charset=utf-8"),
	load("icon.svg", "image/svg+xml"),
}

func load(name, contentType string) *file {
	content, err := embedded.ReadFile(path.Join("static", name))
	if err != nil {
		panic(err) // it is embedded
	}
	sum := sha256.Sum256(content)
	return &file{name, contentType, `"` + hex.EncodeToString(sum[:8]) + `"`, content}
}

// ServeHTTP implements http.Handler.
func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", f.contentType)
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("ETag", f.etag)
	w.Header().Set("Cache-Control", "no-cache") // ask whether it has changed
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
}
