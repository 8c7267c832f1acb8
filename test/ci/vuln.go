package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"regexp"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// noDatabase is what govulncheck 1.8 prints when it has loaded the code but
// cannot get the database: no connection, or an HTTP status that is not 200.
// Whatever else goes wrong fails the check.
var noDatabase = regexp.MustCompile(`(?m)^govulncheck: fetching vulnerabilities: (Get "|HTTP GET .* returned unexpected status)`)

// vuln looks for known vulnerabilities in what the module calls. A finding
// fails; a database out of reach does not, but says so in capitals.
func (p project) vuln(ctx context.Context) error {
	govulncheck, err := components.Lookup(components.Govulncheck)
	if err != nil {
		return err
	}
	return p.scan(ctx, govulncheck, "./...")
}

func (p project) scan(ctx context.Context, govulncheck string, args ...string) error {
	var text bytes.Buffer
	err := p.execTo(ctx, io.MultiWriter(p.out, &text), govulncheck, args...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	switch {
	case err == nil:
		return nil
	case code == 3: // what govulncheck exits with for findings, and for nothing else
		return fmt.Errorf("vulnerabilities found: %w", err)
	case code == 1 && noDatabase.Match(text.Bytes()):
		fmt.Fprintln(p.out, "\n*** NOT CHECKED FOR VULNERABILITIES: THE DATABASE IS OUT OF REACH (see above). ***")
		return nil
	default:
		return fmt.Errorf("the check itself failed: %w", err)
	}
}
