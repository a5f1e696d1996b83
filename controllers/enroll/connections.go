package enroll

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jovalle/usher/controllers/adminclient"
)

const (
	// openMetric counts the open connections of a proxy by cluster; acceptedMetric is one that
	// each process with a proxy has.
	openMetric     = "usher_cluster_connections_open"
	acceptedMetric = "usher_connections_accepted_total"
	// metricsTimeout and maxMetrics bound the answer of one proxy.
	metricsTimeout = 5 * time.Second
	maxMetrics     = 32 << 20
)

// openConnections returns the number of TLS connections to a member, of all proxies.
func openConnections(ctx context.Context, o DrainOptions) (int, error) {
	listeners, err := o.Listeners(ctx)
	if err != nil {
		return 0, err
	}
	total, asked := 0, 0
	var failures []error
	for _, listener := range listeners {
		open, forwards, err := openIn(ctx, listener, o.Name)
		if err != nil {
			failures = append(failures, err)
		} else if forwards {
			asked, total = asked+1, total+open
		}
	}
	switch {
	case len(failures) > 0:
		return 0, errors.Join(failures...)
	case asked == 0:
		return 0, errors.New("no process of usher that was asked forwards connections: name its namespace with --namespace, or its admin listeners with --admin")
	}
	return total, nil
}

// openIn returns how many connections a process has open to a cluster; false if it forwards
// none to any cluster, since it runs the controllers only.
func openIn(ctx context.Context, listener adminclient.Listener, cluster string) (open int, forwards bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	metrics, err := listener.Read(ctx, "/metrics", nil, maxMetrics)
	if err != nil {
		return 0, false, err
	}
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	sample := fmt.Sprintf("%s{cluster=%q} ", openMetric, cluster)
	for lines.Scan() {
		line := lines.Text()
		forwards = forwards || strings.HasPrefix(line, acceptedMetric)
		if value, is := strings.CutPrefix(line, sample); is {
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, false, fmt.Errorf("%s: metric %s: %w", listener.Name, openMetric, err)
			}
			open += int(number)
		}
	}
	return open, forwards, lines.Err()
}
