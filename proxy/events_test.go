package proxy

import (
	"sync"

	"github.com/hallmark-mesh/hallmark/metrics"
)

// events keeps what a recorder's sink is told.
type events struct {
	mu     sync.Mutex
	closed []metrics.Event
}

func (*events) Opened(*metrics.Event) {}

func (e *events) Closed(event *metrics.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = append(e.closed, *event)
}

// all returns the connections that have ended.
func (e *events) all() []metrics.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]metrics.Event(nil), e.closed...)
}
