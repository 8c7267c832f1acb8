package accesslog

import (
	"sync/atomic"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// scene is what all lines of one session with a peer have in common, most of
// each: it is encoded once for all of them.
type scene struct {
	reporter        metrics.Reporter
	listener        string
	own, peer       *tlsctx.Peer
	service, target string
	session         tlsctx.Session
	via             *metrics.Session
}

func sceneOf(e *metrics.Event) scene {
	return scene{e.Reporter, e.Listener, e.Own, e.Peer, e.Service.Host, e.Target, e.Session, e.Via}
}

func sceneOfRequest(e *metrics.RequestEvent) scene {
	return scene{e.Reporter, e.Listener, e.Own, e.Peer, e.Service.Host, e.Target, e.Session, e.Via}
}

// fields are those of the scene.
func (s *scene) fields() list {
	f := make(list, 0, 24)
	f = append(f, zap.String("hallmark.reporter", string(s.reporter)))
	f.text("hallmark.listener", s.listener)
	f.ends(s.reporter, s.own, s.peer)
	f.text("destination.service", s.service)
	f.text("hallmark.target", s.target)
	f.security(s.peer, s.session, s.via)
	return append(f, zap.String("network.transport", "tcp"))
}

// scenes remembers the last scenes: one for each of as many sessions, where they
// do not fall on the same place. The zero value remembers none.
type scenes struct{ places [64]atomic.Pointer[encoded] }

// encoded is an encoder that has the fields of a scene in it.
type encoded struct {
	scene
	encoder zapcore.Encoder
}

// encoder returns an encoder with the fields of the scene, made of one without.
func (p *scenes) encoder(s scene, bare zapcore.Encoder) zapcore.Encoder {
	at := 0
	if s.via != nil {
		at = int(s.via.ID() % uint64(len(p.places)))
	}
	if known := p.places[at].Load(); known != nil && known.scene == s {
		return known.encoder
	}
	e := bare.Clone()
	for _, f := range s.fields() {
		f.AddTo(e)
	}
	p.places[at].Store(&encoded{s, e})
	return e
}
