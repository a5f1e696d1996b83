package statuspage

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"time"
)

//go:embed static/style.css static/page.js static/icon.svg
var embedded embed.FS

// file is a file that the pages load.
type file struct {
	name, contentType string
	version           string // of the content
	content           []byte
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
	return &file{name, contentType, hex.EncodeToString(sum[:8]), content}
}

// paramVersion is the query of a file's URL that says which content is meant.
const paramVersion = "v"

// fileURL returns the URL of a file, relative to the root of the pages.
func fileURL(name string) (string, error) {
	for _, f := range files {
		if f.name == name {
			return "static/" + name + "?" + paramVersion + "=" + f.version, nil
		}
	}
	return "", fmt.Errorf("there is no file %s", name)
}

// ServeHTTP implements http.Handler.
func (f *file) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", f.contentType)
	w.Header().Set("Content-Security-Policy", policy)
	w.Header().Set("ETag", `"`+f.version+`"`)
	w.Header().Set("Cache-Control", "no-cache") // ask whether it has changed
	if r.URL.Query().Get(paramVersion) == f.version {
		w.Header().Set("Cache-Control", "max-age=31536000, immutable") // RFC 8246; another content has another URL
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
}
