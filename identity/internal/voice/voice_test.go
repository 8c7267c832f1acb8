package voice

import (
	"errors"
	"slices"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/hallmark-mesh/hallmark/identity"
	"github.com/hallmark-mesh/hallmark/test/ca"
)

// TestTrouble is said once as long as it lasts, and again when it comes back.
func TestTrouble(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	v := Voice{Logger: zap.New(core)}
	var store identity.Store
	lost, broken := errors.New("lost"), errors.New("broken")
	v.Trouble(&store, lost)
	v.Trouble(&store, lost)
	if _, err := store.Snapshot(); !errors.Is(store.Err(), lost) || err == nil {
		t.Errorf("the store knows of %v, and %v", store.Err(), err)
	}
	if err := store.Publish(ca.New(t, "example.org").Snapshot(t, "/a", identity.Attributes{})); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		v.Say("", func(log *zap.Logger) { log.Info("well") })
	}
	v.Trouble(&store, broken)
	v.Trouble(&store, lost)
	if current, err := store.Snapshot(); err != nil || current == nil || !errors.Is(store.Err(), lost) {
		t.Errorf("what was published is no more in force: %v, %v", err, store.Err())
	}
	var said []string
	for _, e := range logs.All() {
		err, _ := e.ContextMap()["error"].(string)
		said = append(said, e.Message+": "+err)
	}
	want := []string{
		"no identity yet: lost", "well: ",
		"identity is not being refreshed: going on with the last good one: broken",
		"identity is not being refreshed: going on with the last good one: lost",
	}
	if !slices.Equal(said, want) {
		t.Errorf("said %q, want %q", said, want)
	}
}
