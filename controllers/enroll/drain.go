package enroll

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/adminclient"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/routetable"
)

// DrainOptions are the parameters of Drain.
type DrainOptions struct {
	// Name of the MemberCluster.
	Name string
	// Undo ends the drain.
	Undo bool
	// Wait until no connection to the cluster is left, or Timeout has passed.
	Wait bool
	// Listeners returns the admin listeners that are asked for connections.
	Listeners func(ctx context.Context) ([]adminclient.Listener, error)
	// Timeout bounds the whole call.
	Timeout time.Duration
	// Out receives what is found.
	Out io.Writer
}

const (
	// drainEvery is the interval of asking for connections.
	drainEvery = 2 * time.Second
	// listedHosts is how many hosts are listed by name.
	listedHosts = 20
)

// Drain sets or removes the annotation that drains a member, and reports which hosts have
// no other backend and how many connections are left.
func Drain(ctx context.Context, edge *Cluster, o DrainOptions) error {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	mc, err := edge.memberNamed(ctx, o.Name)
	if err != nil {
		return err
	}
	if err := edge.setDrain(ctx, mc, !o.Undo); err != nil {
		return err
	}
	if o.Undo {
		_, err = fmt.Fprintf(o.Out, "cluster %s is not drained: its hosts get new connections there\n", o.Name)
		return err
	}
	fmt.Fprintf(o.Out, "cluster %s is drained: its hosts that have another backend get no new connections there\n", o.Name)
	if err := edge.reportHostsLeft(ctx, mc, o.Out); err != nil {
		return err
	}
	return reportConnections(ctx, o)
}

// memberNamed reads a MemberCluster; the error names those that there are.
func (c *Cluster) memberNamed(ctx context.Context, name string) (*v1alpha1.MemberCluster, error) {
	members, err := c.members(ctx)
	if err != nil {
		return nil, err
	}
	for i := range members {
		if members[i].Name == name {
			return &members[i], nil
		}
	}
	return nil, fmt.Errorf("there is no MemberCluster %s (context %s).%s", name, c.context, known("The members are", name, memberNames(members)))
}

// known ends a message about a name that does not exist: which ones do.
func known(introduction, name string, names []string) string {
	if len(names) == 0 {
		return " There is none"
	}
	similar, more := message.DidYouMean(name, names), ""
	if len(names) > listedHosts {
		names, more = names[:listedHosts], ", …"
	}
	return fmt.Sprintf("%s %s: %s%s", similar, introduction, strings.Join(names, ", "), more)
}

func memberNames(members []v1alpha1.MemberCluster) []string {
	names := make([]string, len(members))
	for i := range members {
		names[i] = members[i].Name
	}
	return names
}

// setDrain sets or removes the annotation of a member.
func (c *Cluster) setDrain(ctx context.Context, mc *v1alpha1.MemberCluster, drain bool) error {
	before := mc.DeepCopy()
	delete(mc.Annotations, v1alpha1.AnnotationDrain)
	if drain {
		mc.Annotations = union(mc.Annotations, map[string]string{v1alpha1.AnnotationDrain: "true"})
	}
	if err := c.client.Patch(ctx, mc, client.MergeFrom(before)); err != nil {
		return c.failed("annotate MemberCluster "+mc.Name, err)
	}
	return nil
}

// reportHostsLeft lists the hosts of a drained member that have no other backend.
func (c *Cluster) reportHostsLeft(ctx context.Context, mc *v1alpha1.MemberCluster, out io.Writer) error {
	var list v1alpha1.ExposedHostList
	if err := c.client.List(ctx, &list); err != nil {
		return c.failed("list ExposedHosts", noCRDs(err))
	}
	members, err := c.members(ctx)
	if err != nil {
		return err
	}
	clusters := map[string]*v1alpha1.MemberCluster{}
	for i := range members {
		clusters[members[i].Name] = &members[i]
	}
	clusters[mc.Name] = mc
	var left []string
	others := 0
	for i := range list.Items {
		eh := &list.Items[i]
		is := func(b v1alpha1.HostBackend) bool { return b.Cluster == mc.Name }
		if !meta.IsStatusConditionTrue(eh.Status.Conditions, v1alpha1.ConditionAccepted) || !slices.ContainsFunc(eh.Spec.Backends, is) {
			continue
		}
		if routetable.HasUndrained(eh.Spec.Backends, clusters) {
			others++
		} else {
			left = append(left, eh.Spec.Host)
		}
	}
	fmt.Fprintf(out, "hosts that have another backend: %d\n", others)
	fmt.Fprintf(out, "hosts that have no other backend, and keep this one: %d\n", len(left))
	slices.Sort(left)
	for i, host := range left {
		if i == listedHosts {
			fmt.Fprintf(out, "  and %d more\n", len(left)-i)
			break
		}
		fmt.Fprintf(out, "  %s\n", host)
	}
	return nil
}

// reportConnections reports how many connections to the member are open, once or until
// none is left.
func reportConnections(ctx context.Context, o DrainOptions) error {
	last := -1
	for {
		open, err := openConnections(ctx, o)
		switch {
		case err != nil && o.Wait:
			return fmt.Errorf("cannot wait until cluster %s is empty: %w", o.Name, err)
		case err != nil:
			_, err = fmt.Fprintf(o.Out, "the connections that are open could not be counted: %v\n", err)
			return err
		case open != last:
			fmt.Fprintf(o.Out, "open connections to cluster %s: %d\n", o.Name, open)
			last = open
		}
		if open == 0 || !o.Wait {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cluster %s still has %d connections after %s", o.Name, open, o.Timeout)
		case <-time.After(drainEvery):
		}
	}
}
