package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/procfs"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/cluster"

	"github.com/jovalle/usher/api/v1alpha1"
	"github.com/jovalle/usher/controllers/member"
)

// syncTimeout is how long the members may take to sync.
const syncTimeout = 5 * time.Minute

// holders: name → a function that holds the members' caches until ctx ends. It returns
// when they have synced, with a function that counts the claimed hosts.
var holders = map[string]func(ctx context.Context, members []*rest.Config) (hosts func() int, err error){
	"empty": func(context.Context, []*rest.Config) (func() int, error) { return func() int { return 0 }, nil },
	"usher": holdAsUsher,
	"plain": holdPlain,
}

// report holds the caches of the members of some kubeconfig files, and prints figures.
func report(ctx context.Context, name string, kubeconfigs []string) error {
	holder, ok := holders[name]
	if !ok {
		return fmt.Errorf("no way %q to hold caches", name)
	}
	var configs []*rest.Config
	for _, file := range kubeconfigs {
		config, err := clientcmd.BuildConfigFromFlags("", file)
		if err != nil {
			return err
		}
		config.QPS = -1
		configs = append(configs, config)
	}
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	start := time.Now()
	hosts, err := holder(ctx, configs)
	if err != nil {
		return err
	}
	f := figures{Sync: time.Since(start)}
	debug.FreeOSMemory()
	self, err := procfs.Self()
	if err != nil {
		return err
	}
	status, err := self.NewStatus()
	if err != nil {
		return err
	}
	f.Resident, f.Peak = int64(status.VmRSS), int64(status.VmHWM)
	f.Hosts = hosts() // last: the plain cache copies all that it is asked for
	return json.NewEncoder(os.Stdout).Encode(f)
}

// holdAsUsher holds the caches as usher's leader does.
func holdAsUsher(ctx context.Context, members []*rest.Config) (func() int, error) {
	set := member.NewSet(logr.Discard())
	set.HostsChanged = func(string, []string) {}
	set.MemberChanged = func(string) {}
	set.StateChanged = func(string) {}
	for i, config := range members {
		set.Ensure(member.Config{Name: strconv.Itoa(i), REST: config, Origin: config.Host}, member.Rules{})
	}
	go func() { _ = set.Start(ctx) }() // it never fails
	err := await(ctx, func() bool {
		for _, name := range set.Names() {
			if state, _ := set.State(name); !state.Synced.True {
				return false
			}
		}
		return true
	})
	return func() int {
		n := 0
		for _, name := range set.Names() {
			n += len(set.Hosts(name))
		}
		return n
	}, err
}

// holdPlain holds the same objects untrimmed, as controller-runtime does by default.
func holdPlain(ctx context.Context, members []*rest.Config) (func() int, error) {
	var clusters []cluster.Cluster
	for _, config := range members {
		c, err := cluster.New(config)
		if err != nil {
			return nil, err
		}
		if _, err := c.GetCache().GetInformer(ctx, &networkingv1.Ingress{}); err != nil {
			return nil, err
		}
		clusters = append(clusters, c)
		go func() { _ = c.Start(ctx) }() // it fails only if it is started twice
	}
	for _, c := range clusters {
		if !c.GetCache().WaitForCacheSync(ctx) {
			return nil, errors.New("a cache did not come in sync")
		}
	}
	return func() int { return countAnnotated(ctx, clusters) }, nil
}

func countAnnotated(ctx context.Context, clusters []cluster.Cluster) int {
	n := 0
	for _, c := range clusters {
		var list networkingv1.IngressList
		if c.GetCache().List(ctx, &list) != nil {
			return -1
		}
		for _, o := range list.Items {
			if o.Annotations[v1alpha1.AnnotationExpose] == "true" {
				n++
			}
		}
	}
	return n
}

// await polls until done.
func await(ctx context.Context, done func() bool) error {
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}
