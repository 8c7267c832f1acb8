package contenders

import (
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// Hallmark is this project's pair, as it ships: metrics and access log on.
func Hallmark(binary string) Contender {
	return hallmark("hallmark", binary, "as it ships: metrics and access log on", "")
}

// HallmarkQuiet is this project's pair without metrics and access log.
func HallmarkQuiet(binary string) Contender {
	return hallmark("hallmark-quiet", binary, "without metrics and access log", "quiet")
}

// HallmarkRaw is this project's pair with a TLS connection for every connection.
func HallmarkRaw(binary string) Contender {
	return hallmark("hallmark-raw", binary, "sessions pinned to raw: a handshake for each connection", "raw")
}

// HallmarkBaseline is a pair of another build, to compare one's own with.
func HallmarkBaseline(binary string) Contender {
	return hallmark("hallmark-baseline", binary, "another build, as it ships", "")
}

func hallmark(name, binary, about, variant string) Contender {
	return Contender{
		Name: name, Modes: []Mode{TCP, HTTP1, GRPC, Mixed}, About: about, Handshakes: variant == "raw",
		start: func(tb testing.TB, s *setting) *Pair {
			return s.both(func(p side) *components.Running {
				return p.run(tb, binary, "run", "--config", p.as(variant).configure(tb, "hallmark/"+p.name()+".yaml"))
			})
		},
	}
}

// as is the side with a variant.
func (s side) as(variant string) side {
	s.Variant = variant
	return s
}
