package statuspage

import (
	"cmp"
	"embed"
	"fmt"
	"html/template"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/jovalle/usher/controllers/explain"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/proxy/history"
)

//go:embed static/*.html
var templateFiles embed.FS

var pageTemplates = template.Must(template.New("").Funcs(template.FuncMap{
	"ago":      ago,
	"lasted":   lasted,
	"stamp":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"rate":     rate,
	"count":    count,
	"clean":    func(text any) string { return message.Format("%s", text) },
	"join":     func(texts []string) string { return message.Bound(strings.Join(texts, ", ")) },
	"networks": networks,
	"label":    func(state string) string { return labels[state] },
	"event":    eventName,
	"sum":      func(a, b float64) float64 { return a + b },
	"add":      func(a, b int) int { return a + b },
	"cure":     func(reason string) string { return advice[reason] },
	"bad":      func(event history.Event) string { return eventStates[event] },
	"ordered":  ordered,
	"step":     func(name string) string { return stepNames[name] },
	"mark":     func(mark explain.Mark) string { return markStates[mark] },
	"file":     fileURL,
	"sign":     func(mark explain.Mark) string { return cmp.Or(signs[mark], "•") },
}).ParseFS(templateFiles, "static/*.html"))

// labels are the names of the states.
var labels = map[string]string{exposed: "Exposed", notReady: "Not ready", refused: "Refused"}

// eventStates are the states that events of the history look like.
var eventStates = map[history.Event]string{history.Exposed: exposed, history.Withdrawn: refused, history.Moved: notReady, history.Changed: notReady, history.Dropped: refused}

// stepNames are the names of the steps of an explanation.
var stepNames = map[string]string{
	explain.StepMembers: "Members", explain.StepObjects: "Objects", explain.StepAdmission: "Admission", explain.StepExposedHost: "ExposedHost",
	explain.StepRoute: "Route", explain.StepBackends: "Backends", explain.StepIsolation: "Isolation", explain.StepDNS: "DNS", explain.StepKnocks: "Knocks",
}

// markStates are the states that the marks of an explanation look like, and signs their signs.
var (
	markStates = map[explain.Mark]string{explain.OK: exposed, explain.Failed: refused, explain.Unknown: notReady}
	signs      = map[explain.Mark]string{explain.OK: "✓", explain.Failed: "✗", explain.Unknown: "?", explain.Skipped: "–"}
)

func eventName(event history.Event) string {
	text := string(event)
	return strings.ToUpper(text[:min(1, len(text))]) + text[min(1, len(text)):]
}

// ordered returns the value of aria-sort of a column.
func ordered(q query, column string) string {
	switch {
	case cmp.Or(q.Column, "host") != column:
		return "none"
	case q.Reverse:
		return "descending"
	}
	return "ascending"
}

// ago returns how long ago a time was.
func ago(now, t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	d := now.Sub(t)
	if d < 10*time.Second {
		return "just now"
	}
	return lasted(d) + " ago"
}

// lasted returns a duration in its largest unit. The text changes seldom, so that a page
// without news has no event.
func lasted(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds())/10*10)
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// rate returns bytes a second.
func rate(n float64) string {
	if n < 0 {
		return "–"
	}
	units := []string{"B", "kB", "MB", "GB", "TB"}
	for n >= 999.5 && len(units) > 1 {
		n, units = n/1000, units[1:]
	}
	if n >= 10 || units[0] == "B" {
		return fmt.Sprintf("%.0f %s/s", n, units[0])
	}
	return fmt.Sprintf("%.1f %s/s", n, units[0])
}

// count returns a number with thin spaces between thousands.
func count(n any) string {
	text := fmt.Sprint(n)
	if value, err := strconv.ParseInt(text, 10, 64); err != nil || value < 10000 {
		return text
	}
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "\u202f" + text[at:]
	}
	return text
}

func networks(all []netip.Prefix) string {
	texts := make([]string, len(all))
	for i, network := range all {
		texts[i] = network.String()
	}
	return strings.Join(texts, ", ")
}
