package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/api/v1alpha1/reason"
	"github.com/jovalle/usher/controllers/dnsrecord"
	"github.com/jovalle/usher/controllers/doctor"
	"github.com/jovalle/usher/controllers/member"
	"github.com/jovalle/usher/controllers/message"
	"github.com/jovalle/usher/controllers/routetable"
)

const (
	// auditTick is how often usher looks which hosts are due for an audit.
	auditTick = 30 * time.Second
	// auditFirst, auditAgain and auditEvery are the pauses before the first audit of a host,
	// before the next one of a host with findings, and of one without. Each gets as much
	// again at random.
	auditFirst = time.Minute
	auditAgain = 15 * time.Minute
	auditEvery = 2 * time.Hour
	// auditShare bounds how many of the hosts are audited in one tick: one in so many.
	auditShare = 120
)

// ErrNotLeading means that this process does not audit: it is not the leader.
var ErrNotLeading = errors.New("this process is not the leader")

// ErrAuditing means that another request is being answered.
var ErrAuditing = errors.New("hosts are being audited for another request: ask again later")

// Audit audits exposed hosts by name, or all of them without names, until ctx ends. The
// error is ErrNotLeading, or that of a name that is not published.
type Audit func(ctx context.Context, hosts []string) (doctor.Report, error)

// publicPort is the port at which clients reach the edge, whatever port usher listens on.
const publicPort = 443

// DoctorOptions say how exposed hosts are audited.
type DoctorOptions struct {
	// Version of usher, for the User-Agent of requests.
	Version string
	// Periodic audits hosts now and then, and writes their condition Healthy.
	Periodic bool
	// Serve receives the function that audits on demand, at each setup; nil: nobody asks.
	Serve func(Audit)
	// Lookup works like net.Resolver.LookupNetIP.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)
	// Inside asks the resolver of this network; nil: it is not asked.
	Inside func(ctx context.Context, name string) (doctor.DNSAnswer, error)
	// Redirected is the Doctor's; nil: this process redirects nothing.
	Redirected func(host string) int
	// Machine returns findings about this machine and addresses of backends; nil: none.
	Machine func(backends []netip.AddrPort) []doctor.Finding
}

// Doctor lets the leader audit exposed hosts.
func Doctor(o DoctorOptions) Option { return func(c *controlPlane) { c.doctor = &o } }

// audits are the audits of the leader, and the results of those that were made unasked. A
// nil *audits has none.
type audits struct {
	DoctorOptions
	reader  client.Reader
	doctor  *doctor.Doctor
	dns     dnsrecord.Config
	changed func(h *doctor.Host) // called when the findings of a host differ

	demand sync.Mutex // held by an audit on demand

	mu      sync.Mutex
	leading bool
	hosts   map[string]*audited // ExposedHost → its last audit
	machine []doctor.Finding
	total   uint64 // hosts that were audited since the start
}

// audited is the last audit of a host.
type audited struct {
	done     bool
	findings []doctor.Finding
	clusters []string
	next     time.Time
}

// loops reports whether it found that a CDN's requests are redirected without an end.
func (l *audited) loops() bool {
	return slices.ContainsFunc(l.findings, func(f doctor.Finding) bool { return f.Kind == reason.FlexibleLoop })
}

// setupDoctor registers the audits; nil without the option Doctor.
func (c *controlPlane) setupDoctor(mgr manager.Manager, members *member.Set, hosts, clusters *trigger) (*audits, error) {
	if c.doctor == nil {
		return nil, nil
	}
	a := &audits{DoctorOptions: *c.doctor, reader: mgr.GetClient(), doctor: doctor.New(), dns: c.dns, hosts: map[string]*audited{}}
	a.doctor.Version, a.doctor.Own, a.doctor.Lookup, a.doctor.Inside = a.Version, c.ownAddress, a.DoctorOptions.Lookup, a.DoctorOptions.Inside
	if a.doctor.Lookup == nil {
		a.doctor.Lookup = net.DefaultResolver.LookupNetIP
	}
	a.doctor.Private, a.doctor.Redirected = members.Private, a.Redirected
	a.doctor.Direct, a.doctor.PublicPort = c.dns.Direct, publicPort
	a.changed = func(h *doctor.Host) {
		hosts.add("", []string{h.Name})
		for _, cluster := range auditedClusters(h) {
			clusters.add("", []string{cluster})
		}
	}
	if a.Serve != nil {
		a.Serve(a.onDemand)
	}
	if err := mgr.Add(a); err != nil {
		return nil, fmt.Errorf("add the audits: %w", err)
	}
	if a.Periodic {
		if err := mgr.Add(a.publishMetrics()); err != nil {
			return nil, fmt.Errorf("add the metrics of the audits: %w", err)
		}
	}
	return a, nil
}

// auditedClusters returns the clusters among a host's backends.
func auditedClusters(h *doctor.Host) []string {
	var names []string
	for i := range h.Backends {
		if name := h.Backends[i].Cluster; name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Start implements manager.Runnable: it runs while this process leads.
func (a *audits) Start(ctx context.Context) error {
	a.lead(true)
	defer a.lead(false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(jittered(auditTick / 2)):
		}
		if a.Periodic {
			a.tick(ctx)
		}
	}
}

func (a *audits) lead(leading bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.leading = leading
}

// jittered returns a pause and up to as much again.
func jittered(pause time.Duration) time.Duration {
	return pause + rand.N(pause) //nolint:gosec // G404: the jitter is no secret
}

// tick audits the hosts that are due.
func (a *audits) tick(ctx context.Context) {
	hosts, all, err := a.read(ctx)
	if err != nil {
		logUnread(ctx, err)
		return
	}
	due := a.due(hosts, time.Now())
	if len(due) == 0 {
		return
	}
	machine := a.machineFindings(hosts)
	a.mu.Lock()
	a.machine = machine
	a.mu.Unlock()
	a.doctor.Audit(ctx, due, all, a.store)
}

// due returns the hosts to audit now, and forgets those that are no longer published.
func (a *audits) due(hosts []*doctor.Host, now time.Time) []*doctor.Host {
	a.mu.Lock()
	defer a.mu.Unlock()
	var due []*doctor.Host
	published := map[string]bool{} // ExposedHost → true
	for _, h := range hosts {
		published[h.Name] = true
		last := a.hosts[h.Name]
		switch {
		case last == nil:
			a.hosts[h.Name] = &audited{next: now.Add(jittered(auditFirst))}
		case now.After(last.next), last.done && !last.loops() && a.doctor.Loops(h):
			due = append(due, h)
		}
	}
	for name := range a.hosts {
		if !published[name] {
			delete(a.hosts, name)
		}
	}
	slices.SortFunc(due, func(x, y *doctor.Host) int { return a.hosts[x.Name].next.Compare(a.hosts[y.Name].next) })
	return due[:min(len(due), 10+len(hosts)/auditShare)]
}

// store stores the findings of a host.
func (a *audits) store(h *doctor.Host, findings []doctor.Finding) {
	pause := auditEvery
	if len(findings) > 0 {
		pause = auditAgain
	}
	is := &audited{done: true, findings: findings, clusters: auditedClusters(h), next: time.Now().Add(jittered(pause))}
	a.mu.Lock()
	was := a.hosts[h.Name]
	a.hosts[h.Name] = is
	a.total++
	a.mu.Unlock()
	if was == nil || was.done != is.done || !slices.EqualFunc(was.findings, is.findings, sameFinding) {
		a.changed(h)
	}
}

func sameFinding(a, b doctor.Finding) bool {
	return a.Kind == b.Kind && a.Cluster == b.Cluster && a.Evidence == b.Evidence
}

// onDemand implements Audit. Its results are stored if hosts are audited periodically.
func (a *audits) onDemand(ctx context.Context, names []string) (doctor.Report, error) {
	if !a.demand.TryLock() {
		return doctor.Report{}, ErrAuditing
	}
	defer a.demand.Unlock()
	a.mu.Lock()
	leading := a.leading
	a.mu.Unlock()
	if !leading {
		return doctor.Report{}, ErrNotLeading
	}
	hosts, all, err := a.read(ctx)
	if err != nil {
		return doctor.Report{}, err
	}
	chosen, err := choose(hosts, names)
	if err != nil {
		return doctor.Report{}, err
	}
	report := doctor.Report{Hosts: len(chosen), Findings: []doctor.Finding{}}
	if len(names) == 0 {
		report.Findings = append(report.Findings, a.machineFindings(hosts)...)
	}
	a.doctor.Audit(ctx, chosen, all, func(h *doctor.Host, findings []doctor.Finding) {
		report.Audited++
		report.Findings = append(report.Findings, findings...)
		if a.Periodic {
			a.store(h, findings)
		}
	})
	report.Findings, report.Time = doctor.Sort(report.Findings), time.Now().UTC().Truncate(time.Second)
	return report, nil
}

// choose returns the hosts with the names; all of them without names.
func choose(hosts []*doctor.Host, names []string) ([]*doctor.Host, error) {
	if len(names) == 0 {
		return hosts, nil
	}
	var chosen []*doctor.Host
	for _, name := range names {
		i := slices.IndexFunc(hosts, func(h *doctor.Host) bool { return h.Host == name })
		if i < 0 {
			return nil, errors.New(message.Format("%s is not published: kubectl get exposedhosts lists the hosts that are", name))
		}
		chosen = append(chosen, hosts[i])
	}
	return chosen, nil
}

// machineFindings audits this machine.
func (a *audits) machineFindings(hosts []*doctor.Host) []doctor.Finding {
	if a.Machine == nil {
		return nil
	}
	known := map[netip.AddrPort]bool{} // backend → true
	for _, h := range hosts {
		for i := range h.Backends {
			for _, text := range h.Backends[i].Addresses {
				if address, err := netip.ParseAddr(text); err == nil {
					known[netip.AddrPortFrom(address.Unmap(), h.Backends[i].HTTPSPort)] = true
				}
			}
		}
	}
	backends := make([]netip.AddrPort, 0, len(known))
	for backend := range known {
		backends = append(backends, backend)
	}
	return a.Machine(backends)
}

// read returns the accepted hosts.
func (a *audits) read(ctx context.Context) ([]*doctor.Host, *doctor.Inventory, error) {
	clusters, err := listClusters(ctx, a.reader)
	if err != nil {
		return nil, nil, err
	}
	var list v1alpha1.ExposedHostList
	if err := a.reader.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, fmt.Errorf("list ExposedHosts: %w", err)
	}
	var hosts []*doctor.Host
	for i := range list.Items {
		if eh := &list.Items[i]; isAccepted(eh) && eh.DeletionTimestamp.IsZero() {
			hosts = append(hosts, a.hostOf(eh, clusters))
		}
	}
	return hosts, doctor.NewInventory(hosts), nil
}

func (a *audits) hostOf(eh *v1alpha1.ExposedHost, clusters map[string]*v1alpha1.MemberCluster) *doctor.Host {
	h := &doctor.Host{
		Name: eh.Name, Host: eh.Spec.Host, Except: eh.Spec.Except, Written: eh.Spec.Backends, AllowFrom: eh.Spec.AllowFrom, Sources: eh.Status.Sources,
		Backends:  routetable.Backends(eh.Spec.Backends, clusters),
		PlainOnly: eh.Spec.TLS == v1alpha1.TLSDeny, Forwarded: eh.Spec.PlainHTTP == v1alpha1.PlainHTTPForward,
	}
	if records, err := a.dns.Wanted(v1alpha1.DNSPublic, eh.Spec.Host, eh.Spec.DNS); err == nil && len(records.Sets) > 0 {
		h.Recorded, h.Proxied = true, records.Proxied()
	}
	if ready := findCondition(eh, v1alpha1.ConditionDNSReady); ready != nil && ready.Reason == reason.DNSDrift {
		h.Drift = ready.Message
	}
	return h
}

// setAudited sets the condition Healthy of an ExposedHost by its last audit. A host that is
// refused has none; one that was not audited since the start keeps it.
func (a *audits) setAudited(status *v1alpha1.ExposedHostStatus, eh *v1alpha1.ExposedHost) {
	accepted := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionAccepted)
	if a == nil || !a.Periodic || !accepted {
		meta.RemoveStatusCondition(&status.Conditions, v1alpha1.ConditionHealthy)
		return
	}
	a.mu.Lock()
	last := a.hosts[eh.Name]
	a.mu.Unlock()
	if last == nil || !last.done {
		return
	}
	condition := metav1.Condition{Type: v1alpha1.ConditionHealthy, Status: metav1.ConditionTrue, Reason: reason.Healthy, Message: "the last audit found nothing"}
	if len(last.findings) > 0 {
		first := &last.findings[0]
		condition.Status, condition.Reason, condition.Message = metav1.ConditionFalse, first.Kind, first.Evidence
		if more := len(last.findings) - 1; more > 0 {
			condition.Message = message.Format("%s; and %d more. usher doctor %s shows all, and their cures", first.Evidence, more, eh.Spec.Host)
		}
	}
	setConditions(&status.Conditions, eh.Generation, condition)
}

// ofCluster returns the most severe kind of finding at a cluster's backends and a sentence
// about it, or "" if there is none. Audited reports whether any of its hosts was audited.
func (a *audits) ofCluster(cluster string) (kind, said string, done bool) {
	if a == nil || !a.Periodic {
		return "", "", false
	}
	a.mu.Lock()
	var findings []doctor.Finding
	for _, last := range a.hosts {
		if !last.done || !slices.Contains(last.clusters, cluster) {
			continue
		}
		done = true
		for i := range last.findings {
			if last.findings[i].Cluster == cluster {
				findings = append(findings, last.findings[i])
			}
		}
	}
	a.mu.Unlock()
	if len(findings) == 0 {
		return "", "", done
	}
	findings = doctor.Sort(findings)
	first := findings[0]
	hosts := map[string]bool{} // host → true
	for i := range findings {
		if findings[i].Kind == first.Kind {
			hosts[findings[i].Host] = true
		}
	}
	return first.Kind, message.Format("%s at %d hosts, the first of them %s: %s. usher doctor shows all, and their cures", first.Kind, len(hosts), first.Host, first.Evidence), true
}

// pending reports whether no host was audited since the start.
func (a *audits) pending() bool {
	if a == nil || !a.Periodic {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total == 0
}

// worse reports whether a kind of finding is more severe than a failed health check.
func worse(kind string) bool {
	return cmp.Less(slices.Index(doctor.Kinds(), kind), slices.Index(doctor.Kinds(), reason.BackendUnreachable))
}
