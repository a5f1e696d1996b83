package explain

import (
	"fmt"
	"time"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/message"
)

// about names an object of a member.
func about(ref v1alpha1.SourceRef) string {
	return message.Format("%s %s/%s of cluster %s", ref.Kind, ref.Namespace, ref.Name, ref.Cluster)
}

// count returns a number with its noun.
func count(n int, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// moment writes a time.
func moment(at time.Time) string { return at.UTC().Format(time.RFC3339) }

// bound makes every text a line of printable characters of a bounded length, and bounds the
// details.
func (is *Explanation) bound() {
	for _, text := range []*string{&is.Host, &is.Summary, &is.Reason, &is.Cure, &is.Command} {
		*text = message.Bound(*text)
	}
	for i := range is.Steps {
		step := &is.Steps[i]
		step.Summary = message.Bound(step.Summary)
		if more := len(step.Details) - maxDetails; more > 0 {
			step.Details, step.More = step.Details[:maxDetails], step.More+more
		}
		boundAll(step.Details)
	}
}

func boundAll(details []Detail) {
	for i := range details {
		d := &details[i]
		d.Of, d.Text, d.Command = message.Bound(d.Of), message.Bound(d.Text), message.Bound(d.Command)
		d.Details = d.Details[:min(len(d.Details), maxDetails)]
		boundAll(d.Details)
	}
}
