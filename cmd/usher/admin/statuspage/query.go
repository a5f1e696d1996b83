package statuspage

import (
	"cmp"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// rowsPerPage is the number of hosts on one page.
	rowsPerPage = 30
	// maxSearch is the maximum length of a search, in bytes: that of a host name.
	maxSearch = 253
)

// The parameters of the page.
const (
	paramSearch  = "q"
	paramCluster = "cluster"
	paramState   = "state"
	paramSort    = "sort" // a column, or "-" and a column for the reverse order
	paramPage    = "page"
	paramHost    = "host" // of /events: the page of one host
)

// query is what a page shows of the hosts.
type query struct { //nolint:recvcheck // choose corrects the page; templates call the others on a value
	Search  string
	Cluster string
	State   string
	Column  string // of orders; "" is host
	Reverse bool
	Page    int // 1 is the first
}

// parseQuery reads the parameters. A value that is invalid counts as absent.
func parseQuery(values url.Values) query {
	q := query{
		Search:  strings.ToLower(strings.TrimSpace(values.Get(paramSearch))),
		Cluster: values.Get(paramCluster),
		State:   values.Get(paramState),
		Page:    1,
	}
	q.Search = q.Search[:min(len(q.Search), maxSearch)]
	if !slices.Contains(states, q.State) {
		q.State = ""
	}
	column, reverse := strings.CutPrefix(values.Get(paramSort), "-")
	if orders[column] != nil {
		q.Column, q.Reverse = column, reverse
	}
	if page, err := strconv.Atoi(values.Get(paramPage)); err == nil && page > 1 {
		q.Page = page
	}
	return q
}

// Link returns the query as the parameters of a URL, such as "?q=a&page=2".
func (q query) Link() string {
	values := url.Values{}
	set := func(name, value string) {
		if value != "" {
			values.Set(name, value)
		}
	}
	set(paramSearch, q.Search)
	set(paramCluster, q.Cluster)
	set(paramState, q.State)
	set(paramSort, q.Sort())
	if q.Page > 1 {
		set(paramPage, strconv.Itoa(q.Page))
	}
	return "?" + values.Encode()
}

// Sort returns the value of paramSort.
func (q query) Sort() string {
	if q.Reverse {
		return "-" + q.Column
	}
	return q.Column
}

// By returns the query with another order. The order that the query has already is
// reversed. Numbers begin with the largest.
func (q query) By(column string) query {
	if cmp.Or(q.Column, "host") == column {
		q.Reverse = !q.Reverse
	} else {
		q.Reverse = descending[column]
	}
	q.Column, q.Page = column, 1
	return q
}

// At returns the query for another page.
func (q query) At(page int) query {
	q.Page = page
	return q
}

// Only returns the query for one state; "" for all.
func (q query) Only(state string) query {
	q.State, q.Page = state, 1
	return q
}

// orders compare two rows by a column.
var orders = map[string]func(a, b *row) int{
	"host":    func(a, b *row) int { return strings.Compare(a.host, b.host) },
	"cluster": func(a, b *row) int { return strings.Compare(a.cluster, b.cluster) },
	"source":  func(a, b *row) int { return strings.Compare(a.source, b.source) },
	"state":   func(a, b *row) int { return cmp.Compare(slices.Index(states, a.state), slices.Index(states, b.state)) },
	"open":    func(a, b *row) int { return cmp.Compare(a.open, b.open) },
	"rate":    func(a, b *row) int { return cmp.Compare(a.up.rate+a.down.rate, b.up.rate+b.down.rate) },
	"since":   func(a, b *row) int { return b.since.Compare(a.since) }, // the youngest first
}

// descending are the columns that begin with the largest value.
var descending = map[string]bool{"open": true, "rate": true}

// matches reports whether the query selects a row.
func (q query) matches(r *row) bool {
	return (q.State == "" || r.state == q.State) &&
		(q.Cluster == "" || slices.Contains(r.clusters, q.Cluster)) &&
		(q.Search == "" || strings.Contains(r.text, q.Search))
}

// choose returns the rows of the page, and the number of rows of all pages. It corrects the
// page if there are fewer.
func (q *query) choose(rows []*row) (chosen []*row, total int) {
	if q.Search == "" && q.Cluster == "" && q.State == "" {
		chosen = rows
	} else {
		for _, r := range rows {
			if q.matches(r) {
				chosen = append(chosen, r)
			}
		}
	}
	if column := cmp.Or(q.Column, "host"); column != "host" || q.Reverse {
		chosen = slices.Clone(chosen)
		slices.SortStableFunc(chosen, func(a, b *row) int {
			if q.Reverse {
				a, b = b, a
			}
			return orders[column](a, b)
		})
	}
	total = len(chosen)
	q.Page = max(1, min(q.Page, pages(total)))
	first := (q.Page - 1) * rowsPerPage
	return chosen[first:min(first+rowsPerPage, total)], total
}

// pages returns the number of pages for a number of rows.
func pages(rows int) int { return max(1, (rows+rowsPerPage-1)/rowsPerPage) }
