package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jovalle/usher/hack/test/testkit"
)

// A tab is a page in a Chromium that a test controls by the DevTools protocol.
type tab struct {
	t       *testing.T
	in      io.Writer
	out     *bufio.Reader
	session string
	last    int
}

// openTab starts Chromium and opens a page. Chromium ends with the test.
func openTab(t *testing.T, url string) *tab {
	t.Helper()
	chromium := findChromium(t)
	//nolint:usetesting // Chromium's child processes may still write, and then the cleanup of TempDir would fail
	profile, err := os.MkdirTemp("", "usher-e2e-browser-")
	testkit.Must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(profile) })
	theirIn, in, err := os.Pipe()
	testkit.Must(t, err)
	out, theirOut, err := os.Pipe()
	testkit.Must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	command := exec.CommandContext(ctx, chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--user-data-dir="+profile, "--remote-debugging-pipe", "about:blank")
	command.ExtraFiles = []*os.File{theirIn, theirOut} // descriptors 3 and 4, as Chromium wants them
	command.WaitDelay = 10 * time.Second
	testkit.Must(t, command.Start())
	_, _ = theirIn.Close(), theirOut.Close()
	t.Cleanup(func() {
		cancel()
		_ = command.Wait()
		_, _ = in.Close(), out.Close()
	})
	tb := &tab{t: t, in: in, out: bufio.NewReaderSize(out, 1<<20)}
	target := tb.call("Target.createTarget", map[string]any{"url": "about:blank"})["targetId"]
	tb.session = tb.call("Target.attachToTarget", map[string]any{"targetId": target, "flatten": true})["sessionId"].(string)
	tb.call("Page.enable", nil)
	tb.call("Runtime.enable", nil)
	tb.navigate(url)
	return tb
}

// call calls a method of the protocol and returns its result. Events are ignored.
func (tb *tab) call(method string, params map[string]any) map[string]any {
	tb.t.Helper()
	tb.last++
	request := map[string]any{"id": tb.last, "method": method, "params": params}
	if params == nil {
		request["params"] = map[string]any{}
	}
	if tb.session != "" {
		request["sessionId"] = tb.session
	}
	text, err := json.Marshal(request)
	testkit.Must(tb.t, err)
	if _, err := tb.in.Write(append(text, 0)); err != nil {
		tb.t.Fatalf("%s: %v", method, err)
	}
	for {
		text, err := tb.out.ReadBytes(0)
		if err != nil {
			tb.t.Fatalf("%s: Chromium has ended: %v", method, err)
		}
		var answer struct {
			ID     int
			Result map[string]any
			Error  *struct{ Message string }
		}
		testkit.Must(tb.t, json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &answer))
		switch {
		case answer.ID != tb.last:
		case answer.Error != nil:
			tb.t.Fatalf("%s: %s", method, answer.Error.Message)
		default:
			return answer.Result
		}
	}
}

// navigate opens a page and waits until it is loaded.
func (tb *tab) navigate(url string) {
	tb.t.Helper()
	tb.call("Page.navigate", map[string]any{"url": url})
	testkit.Eventually(tb.t, url+" should be loaded", func() error {
		if state := tb.eval(`document.readyState + " " + (location.href !== "about:blank")`); state != "complete true" {
			return fmt.Errorf("it is %v", state)
		}
		return nil
	})
}

// eval returns the value of an expression, which may be a promise.
func (tb *tab) eval(expression string) any {
	tb.t.Helper()
	answer := tb.call("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true})
	if thrown, found := answer["exceptionDetails"]; found {
		tb.t.Fatalf("%s: %v", expression, thrown)
	}
	return answer["result"].(map[string]any)["value"]
}

// shows waits until the element of a selector has a text, or is not there if the text is empty.
func (tb *tab) shows(what, selector, text string) {
	tb.t.Helper()
	expression := fmt.Sprintf(`(document.querySelector(%q) || {}).textContent || ""`, selector)
	testkit.Eventually(tb.t, "the page should show "+what, func() error {
		shown, _ := tb.eval(expression).(string)
		switch {
		case text == "" && shown != "":
			return fmt.Errorf("%s is %q", selector, shown)
		case !bytes.Contains([]byte(shown), []byte(text)):
			return fmt.Errorf("%s is %q, and lacks %q", selector, shown, text)
		}
		return nil
	})
}

// picture writes what the page looks like to a PNG file, for a width in pixels and a scheme.
func (tb *tab) picture(file string, width, height int, scheme string) {
	tb.t.Helper()
	tb.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
	tb.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
	tb.eval(`new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))`)
	if wide := tb.eval(`document.documentElement.scrollWidth`); wide != float64(width) {
		tb.t.Errorf("a page for %d pixels is %v wide", width, wide)
	}
	data, err := base64.StdEncoding.DecodeString(tb.call("Page.captureScreenshot", map[string]any{"format": "png"})["data"].(string))
	testkit.Must(tb.t, err)
	testkit.Must(tb.t, errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)))
}
