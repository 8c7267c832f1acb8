package ca

import (
	"testing"
	"time"

	"github.com/hallmark-mesh/hallmark/identity"
)

// patience only stops a hang.
const patience = time.Minute

// Await waits until what a store holds, and the trouble it has, are as wanted, and
// returns the snapshot that is in force then, or nil.
func Await(tb testing.TB, store *identity.Store, what string, is func(snapshot *identity.Snapshot, trouble error) bool) *identity.Snapshot {
	tb.Helper()
	limit := time.After(patience)
	for {
		changed := store.Changed()
		snapshot, _ := store.Snapshot()
		if is(snapshot, store.Err()) {
			return snapshot
		}
		select {
		case <-changed:
		case <-limit:
			tb.Fatalf("waiting until %s: snapshot %v, trouble %v", what, snapshot, store.Err())
		}
	}
}
