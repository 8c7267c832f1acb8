package main

import (
	"bytes"
	"fmt"
	"html"
	"time"
)

// The plots' measures, in pixels.
const (
	plotWidth = 760
	barHeight = 22
	barGap    = 8
	labels    = 130
	values    = 150
)

// stroke is one bar of a plot, of one or two parts.
type stroke struct {
	name        string
	parts       []float64
	text        string
	low, high   float64 // spread of the sum; nothing if equal
	highlighted bool
}

// plots returns the plots of a workload by file name.
func (r *report) plots(w workload) map[string][]byte {
	plots := map[string][]byte{}
	var cpu, delay, memory []stroke
	for _, c := range r.contenders {
		samples := r.of(w.Name, c.Name)
		if len(samples) == 0 {
			continue
		}
		of := func(f func(Sample) float64) float64 { return median(samples, f) }
		spread := func(f func(Sample) float64, q float64) float64 {
			all := make([]float64, len(samples))
			for i, s := range samples {
				all[i] = f(s)
			}
			return quantile(all, q)
		}
		own := c.Name == "hallmark"
		micro := func(s Sample) float64 { return s.CPUPerCall() * 1e6 }
		if c.Name != noProxy {
			cpu = append(cpu, stroke{c.Name, []float64{
				of(func(s Sample) float64 { return s.OutboundCPU.Seconds() * 1e6 / float64(max(s.Calls, 1)) }),
				of(func(s Sample) float64 { return s.InboundCPU.Seconds() * 1e6 / float64(max(s.Calls, 1)) }),
			}, number(of(micro)) + " µs", spread(micro, 0.25), spread(micro, 0.75), own})
			each := func(s Sample) float64 {
				return float64(s.OutboundMemory+s.InboundMemory-s.OutboundIdle-s.InboundIdle) / float64(max(s.Connections, 1)) / 1e3
			}
			memory = append(memory, stroke{c.Name, []float64{of(each)}, number(of(each)) + " kB", spread(each, 0.25), spread(each, 0.75), own})
		}
		p99 := func(s Sample) float64 { return float64(s.P99) / 1e3 }
		delay = append(delay, stroke{c.Name, []float64{of(p99)}, brief(time.Duration(of(p99) * 1e3)), spread(p99, 0.25), spread(p99, 0.75), own})
	}
	switch {
	case len(delay) == 0:
	case w.Idle:
		plots[w.Name+"-memory.svg"] = draw("Memory of both proxies per idle connection", memory)
	default:
		plots[w.Name+"-cpu.svg"] = draw("CPU per "+w.Unit+", outbound and inbound proxy: "+w.About, cpu)
		if w.Rate > 0 || w.Callers == 1 {
			plots[w.Name+"-p99.svg"] = draw("99th percentile of latency: "+w.About, delay)
		}
	}
	return plots
}

// draw draws horizontal bars from zero, with the quartiles as a line.
func draw(title string, strokes []stroke) []byte {
	longest := 0.0
	for _, s := range strokes {
		sum := 0.0
		for _, p := range s.parts {
			sum += max(p, 0)
		}
		longest = max(longest, sum, s.high)
	}
	scale := 0.0
	if longest > 0 {
		scale = float64(plotWidth-labels-values) / longest
	}
	var b bytes.Buffer
	height := 40 + len(strokes)*(barHeight+barGap)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n", plotWidth, height, plotWidth, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="8" y="20" font-weight="bold">%s</text>`+"\n", html.EscapeString(title))
	for i, s := range strokes {
		y := 34 + i*(barHeight+barGap)
		middle := y + barHeight/2
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, labels-8, middle+4, html.EscapeString(s.name))
		x := float64(labels)
		for j, p := range s.parts {
			width := max(p, 0) * scale
			fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>`, x, y, width, barHeight, colour(s.highlighted, j))
			x += width
		}
		if s.high > s.low {
			fmt.Fprintf(&b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#222"/>`, labels+s.low*scale, middle, labels+s.high*scale, middle)
			x = max(x, labels+s.high*scale)
		}
		fmt.Fprintf(&b, `<text x="%.1f" y="%d">%s</text>`+"\n", x+6, middle+4, html.EscapeString(s.text))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// colour tells ours from the others', and the first part from the second.
func colour(own bool, part int) string {
	switch {
	case own && part == 0:
		return "#1f6feb"
	case own:
		return "#79b0ff"
	case part == 0:
		return "#8a8f98"
	default:
		return "#c3c7ce"
	}
}
