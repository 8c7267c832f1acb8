package accesslog

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/hallmark-mesh/hallmark/metrics"
	"github.com/hallmark-mesh/hallmark/tlsctx"
)

// TestDocumented holds the fields of docs/access-log.md to those that there are.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/access-log.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{"time": true, "level": true, "message": true}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z_.]+`(?:, `[a-z_.]+`)*) \\| ").FindAllStringSubmatch(string(page), -1) {
		for name := range strings.SplitSeq(row[1], ", ") {
			documented[strings.Trim(name, "`")] = true
		}
	}
	r, err := metrics.New(metrics.Config{})
	if err != nil {
		t.Fatal(err)
	}
	e := call()
	e.Origin = netip.MustParseAddrPort("10.0.0.7:1")
	e.Outcome = metrics.Outcome{Reason: "x", Err: errors.New("x")}
	e.Own = &tlsctx.Peer{ID: e.Own.ID, Attributes: slices.Clone(e.Peer.Attributes)}
	e.Via = r.OpenSession(metrics.SessionInfo{Side: metrics.Server, Peer: e.Peer})
	defer e.Via.Close("ended")
	request := get()
	request.Own, request.Via, request.Outcome = e.Own, e.Via, e.Outcome
	request.Upgrade, request.IsGRPC = "websocket", true
	known := maps.Clone(documented)
	one, other := sceneOf(&e), sceneOfRequest(&request)
	for _, line := range [][]zap.Field{fields(one.fields(), &e), requestFields(other.fields(), &request)} {
		keys := []string{"time", "level", "message"}
		for _, f := range line {
			keys = append(keys, f.Key)
		}
		for _, name := range keys {
			if !known[name] {
				t.Errorf("%s is not in docs/access-log.md", name)
			}
			delete(documented, name)
		}
		slices.Sort(keys)
		if n := len(slices.Compact(slices.Clone(keys))); n != len(keys) {
			t.Errorf("a name is written twice: %q", keys)
		}
	}
	for name := range documented {
		t.Errorf("%s is in docs/access-log.md, and never written", name)
	}
}
