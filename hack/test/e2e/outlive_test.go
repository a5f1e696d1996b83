package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// conversation is one TLS connection through usher on which requests go back and forth.
type conversation struct {
	conn   *tls.Conn
	reader *bufio.Reader
	host   string
}

func converse(t *testing.T, host string) *conversation {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", on.HTTPS.String())
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &conversation{conn: conn.(*tls.Conn), reader: bufio.NewReader(conn), host: host}
}

// say sends a request and reads its response.
func (c *conversation) say() error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c.conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", c.host); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("answered %s", response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// An established connection outlives its host's withdrawal, an API server that
// goes away, and its return.
func TestEstablishedConnectionOutlivesTheControlPlane(t *testing.T) {
	must(t, on.Hades.Publish(t.Context(), "film", "film.techn.is", `usher.techn.is/expose: "true"`))
	must(t, on.Hades.Publish(t.Context(), "radio", "radio.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "film.techn.is", "hades")
	answered(t, "radio.techn.is", "hades")
	film := converse(t, "film.techn.is")
	must(t, film.say())

	kubectl(t, on.Hades.Cluster, "annotate", "ingressroute", "film", unexpose)
	unanswered(t, "film.techn.is")
	must(t, film.say())

	on.Edge.Stop()
	must(t, film.say())
	answered(t, "radio.techn.is", "hades") // new connections too
	must(t, on.Edge.Start(context.Background()))
	kubectl(t, on.Hades.Cluster, "annotate", "ingressroute", "film", expose)
	eventuallyWithin(t, 2*time.Minute, "film.techn.is should be answered again", func() error {
		_, err := ask(t.Context(), "film.techn.is")
		return err
	})
	must(t, film.say())
}

// eventuallyWithin is eventually with another patience.
func eventuallyWithin(t *testing.T, d time.Duration, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// SIGTERM: not ready, no new connections, open ones go on until they end; then usher ends with success.
func TestTerminateDrains(t *testing.T) {
	must(t, on.Illmatic.Publish(t.Context(), "drained", "drained.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "drained.techn.is", "illmatic")
	open := converse(t, "drained.techn.is")
	must(t, open.say())
	ended := make(chan error, 1)
	go func() { ended <- on.Terminate(context.Background()) }()
	eventually(t, "new connections should be refused", func() error {
		if _, err := ask(t.Context(), "drained.techn.is"); err == nil || !strings.Contains(err.Error(), "connection refused") {
			return fmt.Errorf("still accepted (%w)", err)
		}
		return nil
	})
	must(t, open.say())
	must(t, open.conn.Close())
	select {
	case err := <-ended:
		must(t, err)
	case <-time.After(patience):
		t.Fatal("usher did not end")
	}
	must(t, on.StartUsher(t.Context()))
	answered(t, "drained.techn.is", "illmatic")
}

// Killed, and started again without an API server to ask, usher serves from its
// snapshot; when the API server is back, it follows that.
func TestSnapshotOutlivesTheAPIServer(t *testing.T) {
	must(t, on.Hades.Publish(t.Context(), "archive", "archive.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "archive.techn.is", "hades")
	eventually(t, "the snapshot should hold the host", func() error {
		data, err := os.ReadFile(filepath.Join(stateDir, "table.json"))
		if err == nil && !strings.Contains(string(data), "archive.techn.is") {
			err = errors.New("it does not")
		}
		return err
	})
	on.Kill()
	on.Edge.Stop()
	must(t, on.StartUsher(t.Context()))
	answered(t, "archive.techn.is", "hades")
	unanswered(t, "nobody.techn.is")

	must(t, on.Edge.Start(context.Background()))
	kubectl(t, on.Hades.Cluster, "annotate", "ingressroute", "archive", unexpose)
	eventuallyWithin(t, 2*time.Minute, "archive.techn.is should be refused", func() error {
		if _, err := ask(t.Context(), "archive.techn.is"); err == nil {
			return errors.New("it is answered still")
		}
		return nil
	})
}
