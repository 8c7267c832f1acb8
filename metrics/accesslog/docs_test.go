package accesslog

import (
	"errors"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

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
	written := []string{"time", "level", "message"}
	for _, f := range fields(&e) {
		written = append(written, f.Key)
	}
	for _, name := range written {
		if !documented[name] {
			t.Errorf("%s is not in docs/access-log.md", name)
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("%s is in docs/access-log.md, and never written", name)
	}
	keys := slices.Clone(written)
	slices.Sort(keys)
	if n := len(slices.Compact(keys)); n != len(written) {
		t.Error("a name is written twice")
	}
}
