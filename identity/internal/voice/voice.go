// Package voice has a source of identities say in the log how it fares: each state
// once, however often it is met in a row. It never decides what is in force.
package voice

import (
	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/identity"
)

// Voice logs the states of one source. It is not safe for concurrent use.
type Voice struct {
	// Logger is where it is said. Required.
	Logger *zap.Logger

	said string // the last state
}

// Say calls log for a state, unless that was the last one that was said.
func (v *Voice) Say(state string, log func(*zap.Logger)) {
	if v.said != state {
		v.said = state
		log(v.Logger)
	}
}

// Trouble records an error with the store, and says so; what was published stays in
// force.
func (v *Voice) Trouble(store *identity.Store, err error) {
	store.Fail(err)
	current, noIdentity := store.Snapshot()
	v.Say(err.Error(), func(log *zap.Logger) {
		if noIdentity != nil {
			log.Warn("no identity yet", zap.Error(err))
			return
		}
		log.Warn("identity is not being refreshed: going on with the last good one", zap.Error(err),
			zap.Stringer("spiffe_id", current.ID()), zap.Time("not_after", current.NotAfter()))
	})
}
