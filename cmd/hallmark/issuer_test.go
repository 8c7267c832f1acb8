package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// parseIssuer parses the flags of hallmark issuer.
func parseIssuer(t *testing.T, args ...string) (*IssuerCmd, error) {
	t.Helper()
	var c IssuerCmd
	parser, err := kong.New(&c, kong.Writers(io.Discard, io.Discard), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return &c, err
}

func TestIssuerFlagsOverrideAndAddToFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "issuer.yaml")
	content := "trustDomain: example.org\nsvidTTL: 10m\nkeyType: ed25519\nworkloads:\n- {id: 'spiffe://example.org/file', selectors: {uid: 1}}\n"
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := parseIssuer(t, "--config", file, "--svid-ttl=5m", "--ca-ttl=1h",
		"--workload=spiffe://example.org/one,uid=1000,attr:k8s.pod.name=x", "--workload=spiffe://example.org/two,gid=7,federates-with=other.org",
		"--foreign-bundle=other.org=/other.pem", "--foreign-bundles=/bundles", "--export-bundle=/own.json")
	if err != nil {
		t.Fatal(err)
	}
	config, err := c.config()
	if err != nil {
		t.Fatal(err)
	}
	if err := config.Validate(); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(config.TrustDomain.Name(), config.SVIDTTL, config.CATTL, config.KeyType, config.Workloads,
		config.Federation.Bundles[0].TrustDomain.Name(), config.Federation.Bundles[0].File, config.Federation.Directory, config.ExportBundle)
	want := fmt.Sprint("example.org", 5*time.Minute, time.Hour, "ed25519",
		"[spiffe://example.org/file,uid=1 spiffe://example.org/one,uid=1000,attr:k8s.pod.name=x spiffe://example.org/two,gid=7,federates-with=other.org]",
		"other.org", "/other.pem", "/bundles", []string{"/own.json"})
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestIssuerRefusesWrongConfigurationAsUsage(t *testing.T) {
	if _, err := parseIssuer(t, "--trust-domain=example.org", "--workload=spiffe://example.org/a,uid=root"); err == nil || !strings.Contains(err.Error(), "uid: ") {
		t.Errorf("got %v", err)
	}
	for flag, want := range map[string]string{
		"--trust-domain=":                      "trustDomain: is required",
		"--trust-domain=No":                    "--trust-domain",
		"--config=/does/not/exist":             "/does/not/exist",
		"--workload=spiffe://example.org/a":    "trustDomain",
		"--foreign-bundle=Not A Domain=/a.pem": "--foreign-bundle",
	} {
		c, err := parseIssuer(t, flag)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Run(t.Context(), io.Discard)
		var usage *codedError
		if !errors.As(err, &usage) || usage.code != exitUsage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q and exit code %d", flag, err, want, exitUsage)
		}
	}
}

// announced is a writer that says when the last line of the announcement came.
type announced struct {
	bytes.Buffer
	listening chan struct{}
}

func (a *announced) Write(b []byte) (int, error) {
	n, err := a.Buffer.Write(b)
	if bytes.Contains(b, []byte("listening on")) {
		close(a.listening)
	}
	return n, err
}

func TestIssuerServesUntilItIsStopped(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	c, err := parseIssuer(t, "--trust-domain=example.org", "--socket="+socket, fmt.Sprintf("--workload=spiffe://example.org/me,uid=%d", os.Getuid()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	out := &announced{listening: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx, out) }()
	select {
	case <-out.listening:
	case err := <-done:
		t.Fatalf("ended early: %v", err)
	}
	svid, err := workloadapi.FetchX509SVID(ctx, workloadapi.WithAddr("unix://"+socket))
	if err != nil || svid.ID.String() != "spiffe://example.org/me" {
		t.Errorf("fetched %v, %v", svid, err)
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if want := "trust domain example.org\nlistening on unix://" + socket + "\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}
