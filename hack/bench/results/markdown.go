package results

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// Markdown writes the report's tables.
func (r *Report) Markdown(w io.Writer) {
	fmt.Fprintf(w, "%s, %d processors (%s), Linux %s, load %.1f at the start; medians of %d interleaved rounds ± half the distance between the quartiles\n",
		r.Started.UTC().Format("2006-01-02 15:04 UTC"), r.Machine.Processors, r.Machine.Processor, r.Machine.Kernel, r.Machine.Load, r.Rounds)
	for _, proxy := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(w, "- %s: %s\n", proxy, r.Versions[proxy])
	}
	for i := range r.Tables {
		r.Tables[i].markdown(w)
	}
}

func (t *Table) markdown(w io.Writer) {
	fmt.Fprintf(w, "\n### %s\n\n", t.Title)
	rows := [][]string{append([]string{"proxy"}, t.titles()...)}
	for i := range t.Series {
		s := &t.Series[i]
		row := []string{s.Proxy}
		for _, c := range t.Columns {
			row = append(row, t.cell(s, c))
		}
		rows = append(rows, row)
	}
	writeRows(w, rows)
}

func (t *Table) titles() []string {
	titles := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		titles[i] = c.Title
	}
	return titles
}

// cell shows a figure as "median ± spread ×ratio".
func (t *Table) cell(s *Series, c Column) string {
	if c.Added && s.Proxy == direct {
		return "–"
	}
	f, ok := t.figure(s, c)
	if !ok {
		return "–"
	}
	text := number(f.median)
	if f.median != 0 && f.spread > 0 {
		text += fmt.Sprintf(" ±%.0f %%", 100*f.spread/math.Abs(f.median))
	}
	if f.ratio != 0 {
		text += fmt.Sprintf(" **×%.2f**", f.ratio)
	}
	return text
}

// number shows three digits, and all of those before the point.
func number(v float64) string {
	switch size := math.Abs(v); {
	case size == 0:
		return "0"
	case size >= 100:
		return fmt.Sprintf("%.0f", v)
	case size >= 10:
		return fmt.Sprintf("%.1f", v)
	case size >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}

// writeRows writes a table whose columns line up in a terminal too.
func writeRows(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len([]rune(cell)))
		}
	}
	for i, row := range rows {
		for j, cell := range row {
			fmt.Fprintf(w, "| %-*s ", widths[j], cell)
		}
		fmt.Fprintln(w, "|")
		if i == 0 {
			for _, width := range widths {
				fmt.Fprintf(w, "|%s", strings.Repeat("-", width+2))
			}
			fmt.Fprintln(w, "|")
		}
	}
}
