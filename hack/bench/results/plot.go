package results

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"text/template"
)

// The plot is a panel for each headline: bars of its ratios to the reference.
const (
	panelColumns = 3
	panelWidth   = 300 // pixels of the drawing, as all here
	barHeight    = 18
	barGap       = 6
	labelWidth   = 76
	valueWidth   = 44
	titleHeight  = 44
	panelGap     = 24
	longestRatio = 2.5 // bars beyond are cut, and say so by their number
)

//go:embed plot.svg.tmpl
var plotText string

var plotTemplate = template.Must(template.New("plot").Parse(plotText))

type drawing struct {
	Width, Height int
	Panels        []panel
}

type panel struct {
	X, Y  int
	Title string
	Unit  int // where the bar of ratio 1 ends
	Foot  int // where the last bar ends
	Bars  []bar
}

type bar struct {
	Proxy     string
	Y, Text   int // its top, and the base line of its text
	X, Width  int
	End       int // where its number stands
	Ratio     string
	Ours, Cut bool
}

// headlines are the tables and columns that are drawn: the first column that
// has a ratio in each.
var headlines = []struct{ table, title string }{
	{"hello", "CPU a short connection"},
	{"connect", "CPU a TLS connection"},
	{"down", "CPU a byte from the backend"},
	{"up", "CPU a byte to the backend"},
	{"latency", "p50 added to a round trip"},
	{"idle", "user memory an idle connection"},
}

// Plot draws the report's headlines as SVG. What was not measured is left out.
func (r *Report) Plot(w io.Writer) error {
	d := drawing{Width: panelColumns*(panelWidth+panelGap) + panelGap}
	for _, h := range headlines {
		t := r.table(h.table)
		if t == nil {
			continue
		}
		d.add(h.title, t)
	}
	return plotTemplate.Execute(w, d)
}

func (r *Report) table(name string) *Table {
	for i := range r.Tables {
		if r.Tables[i].Name == name {
			return &r.Tables[i]
		}
	}
	return nil
}

// add adds a panel at the next place.
func (d *drawing) add(title string, t *Table) {
	rows := len(t.Series) - 1 // direct has no bar
	height := titleHeight + rows*(barHeight+barGap) + panelGap
	column, row := len(d.Panels)%panelColumns, len(d.Panels)/panelColumns
	p := panel{X: panelGap + column*(panelWidth+panelGap), Y: panelGap + row*height, Title: title}
	p.Unit = labelWidth + length(1)
	for i := range t.Series {
		if f, ok := t.figure(&t.Series[i], t.Columns[0]); ok && t.Series[i].Proxy != direct {
			p.Bars = append(p.Bars, newBar(len(p.Bars), t.Series[i].Proxy, f.ratio))
		}
	}
	p.Foot = titleHeight + len(p.Bars)*(barHeight+barGap) - barGap
	d.Panels = append(d.Panels, p)
	d.Height = max(d.Height, p.Y+height)
}

func newBar(i int, proxy string, ratio float64) bar {
	top := titleHeight + i*(barHeight+barGap)
	width := length(ratio)
	return bar{
		Proxy: proxy, Y: top, Text: top + barHeight - 5, X: labelWidth, Width: width, End: labelWidth + width + 5,
		Ratio: fmt.Sprintf("×%.2f", ratio), Ours: proxy == "usher", Cut: ratio > longestRatio,
	}
}

// length returns the pixels of a bar.
func length(ratio float64) int {
	return int(math.Round(min(ratio, longestRatio) / longestRatio * (panelWidth - labelWidth - valueWidth)))
}
