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
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// conversation is one TLS connection through usher for several requests.
type conversation struct {
	conn   *tls.Conn
	reader *bufio.Reader
	host   string
}

func converse(t *testing.T, host string) *conversation {
	t.Helper()
	conn, err := (&tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", env.HTTPS.String())
	testkit.Must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &conversation{conn: conn.(*tls.Conn), reader: bufio.NewReader(conn), host: host}
}

// request sends a request and reads its response.
func (c *conversation) request() error {
	if err := c.conn.SetDeadline(time.Now().Add(testkit.Timeout)); err != nil {
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

// An established connection survives the withdrawal of its host, and an outage of the API
// server.
func TestEstablishedConnectionSurvivesTheControlPlane(t *testing.T) {
	testkit.Must(t, env.Hades.Publish(t.Context(), "film", "film.techn.is", `usher.techn.is/expose: "true"`))
	testkit.Must(t, env.Hades.Publish(t.Context(), "radio", "radio.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "film.techn.is", "hades")
	answered(t, "radio.techn.is", "hades")
	film := converse(t, "film.techn.is")
	testkit.Must(t, film.request())

	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "film", unexpose)
	unanswered(t, "film.techn.is")
	testkit.Must(t, film.request())

	env.Edge.Stop()
	testkit.Must(t, film.request())
	answered(t, "radio.techn.is", "hades") // new connections, too
	testkit.Must(t, env.Edge.Start(context.Background()))
	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "film", expose)
	testkit.Eventually(t, "film.techn.is should be answered again", func() error {
		_, err := getHTTPS(t.Context(), "film.techn.is")
		return err
	})
	testkit.Must(t, film.request())
}

// After SIGTERM usher is not ready and accepts no new connections. It ends with success when the open ones have ended.
func TestTerminateDrains(t *testing.T) {
	testkit.Must(t, env.Illmatic.Publish(t.Context(), "drained", "drained.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "drained.techn.is", "illmatic")
	open := converse(t, "drained.techn.is")
	testkit.Must(t, open.request())
	ended := make(chan error, 1)
	go func() { ended <- env.Terminate(context.Background()) }()
	testkit.Eventually(t, "new connections should be refused", func() error {
		if _, err := getHTTPS(t.Context(), "drained.techn.is"); err == nil || !strings.Contains(err.Error(), "connection refused") {
			return fmt.Errorf("still accepted (%w)", err)
		}
		return nil
	})
	testkit.Must(t, open.request())
	testkit.Must(t, open.conn.Close())
	select {
	case err := <-ended:
		testkit.Must(t, err)
	case <-time.After(testkit.Timeout):
		t.Fatal("usher did not end")
	}
	testkit.Must(t, env.StartUsher(t.Context()))
	answered(t, "drained.techn.is", "illmatic")
}

// usher is killed, and started again without an API server. It then serves from its
// snapshot. When the API server is back, usher watches it.
func TestSnapshotIsServedWithoutTheAPIServer(t *testing.T) {
	testkit.Must(t, env.Hades.Publish(t.Context(), "archive", "archive.techn.is", `usher.techn.is/expose: "true"`))
	answered(t, "archive.techn.is", "hades")
	served := regexp.MustCompile(`"archive\.techn\.is".*"status":"True"`) // one object per line
	testkit.Eventually(t, "the snapshot should hold the host as accepted", func() error {
		data, err := os.ReadFile(filepath.Join(stateDir, "table.json"))
		if err == nil && !served.Match(data) {
			err = errors.New("it does not")
		}
		return err
	})
	env.Kill()
	env.Edge.Stop()
	testkit.Must(t, env.StartUsher(t.Context()))
	answered(t, "archive.techn.is", "hades")
	unanswered(t, "nobody.techn.is")

	testkit.Must(t, env.Edge.Start(context.Background()))
	kubectl(t, env.Hades.Cluster, "annotate", "ingressroute", "archive", unexpose)
	testkit.Eventually(t, "archive.techn.is should be refused", func() error {
		if _, err := getHTTPS(t.Context(), "archive.techn.is"); err == nil {
			return errors.New("it is answered still")
		}
		return nil
	})
}
