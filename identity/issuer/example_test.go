package issuer_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/hallmark-mesh/hallmark/identity/issuer"
)

// An authority in memory serves this user's programs, of which this one is the
// first.
func Example() {
	dir, err := os.MkdirTemp("", "issuer")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	authority, err := issuer.New(issuer.Config{
		TrustDomain: spiffeid.RequireTrustDomainFromString("example.org"),
		Socket:      dir + "/agent.sock",
		Workloads: []issuer.Workload{{
			ID:        spiffeid.RequireFromString("spiffe://example.org/ns/shop/sa/cart"),
			Selectors: issuer.Selectors{UID: new(uint32(os.Getuid()))},
		}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer authority.Close()
	if err := authority.Listen(); err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- authority.Serve(ctx) }()

	svid, err := workloadapi.FetchX509SVID(ctx, workloadapi.WithAddr("unix://"+dir+"/agent.sock"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(svid.ID)
	cancel()
	fmt.Println(<-served)
	// Output:
	// spiffe://example.org/ns/shop/sa/cart
	// <nil>
}
