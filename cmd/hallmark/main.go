// Command hallmark is a sidecar proxy whose mutual TLS handshake carries who
// calls, from where and what for; see README.md.
//
// This package turns flags into calls of the packages that do the work, a file
// per subcommand, and their results into output and exit codes. It decides
// nothing else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

// version and revision are stamped by the Makefile.
var (
	version  = "devel"
	revision = ""
)

// commands are the subcommands.
type commands struct {
	Run     RunCmd     `cmd:"" help:"Run the sidecar."`
	Demo    DemoCmd    `cmd:"" help:"See it work: three workloads, their sidecars, and who called whom."`
	Check   CheckCmd   `cmd:"" help:"Say whether the sidecar would work here."`
	Issuer  IssuerCmd  `cmd:"" help:"Serve SPIFFE identities to the workloads of this machine, without SPIRE."`
	Inspect InspectCmd `cmd:"" help:"Shake hands with a server and print who it is."`
	Listen  ListenCmd  `cmd:"" help:"Accept handshakes and print who came."`
	Stat    StatCmd    `cmd:"" help:"Show who talks to whom, at which rate and latency."`
	Tap     TapCmd     `cmd:"" help:"Show requests and connections as they happen."`
	Version VersionCmd `cmd:"" help:"Print the version."`
}

// Exit codes, the same for every subcommand.
const (
	exitOK          = 0
	exitError       = 1 // anything not named below
	exitUsage       = 2 // wrong flags or configuration
	exitUnreachable = 3 // nobody answers at the address
	exitHandshake   = 4 // the handshake failed
	exitRefused     = 5 // the peer refused us
	exitNoIdentity  = 6 // we have no identity to present
	exitCut         = 7 // connections had to be cut at the end
)

const exitCodes = `Exit status: 0 success; 1 any other error; 2 wrong flags or configuration; 3 the
address cannot be reached; 4 the handshake failed; 5 the peer refused us; 6 no
identity to present; 7 connections were cut, because the time for draining was over.`

// codedError gives an error its exit code.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string { return e.err.Error() }
func (e *codedError) Unwrap() error { return e.err }

func coded(code int, err error) error {
	if err == nil {
		return nil
	}
	return &codedError{code, err}
}

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is main with its surroundings as parameters.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	exited := -1
	var commands commands
	parser, err := kong.New(&commands,
		kong.Name("hallmark"),
		kong.Description("A sidecar proxy whose mutual TLS handshake carries who calls, from where and what for. Every flag has an environment variable of the name shown with it."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Vars{"colour": isTerminal()},
		kong.ExplicitGroups(flagGroups()),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.BindTo(stdout, (*io.Writer)(nil)),
	)
	if err != nil {
		fmt.Fprintln(stderr, "hallmark:", err)
		return exitError
	}
	parsed, err := parser.Parse(args)
	switch {
	case exited >= 0: // help was asked for and printed
		return exited
	case err != nil:
		fmt.Fprintf(stderr, "hallmark: %v\nTry: hallmark %s--help\n", err, commandOf(err))
		return exitUsage
	}
	return exitCode(parsed.Run(), stderr)
}

// flagGroups are the headings of flags that subcommands share.
func flagGroups() []kong.Group {
	return []kong.Group{
		{Key: "identity", Title: "Who we are:", Description: identityHelp},
		{Key: "peer", Title: "How the peer is judged:"},
		{Key: "admin", Title: "Which sidecar is asked:", Description: adminHelp},
		{Key: "filter", Title: "What is shown:"},
	}
}

// commandOf returns the subcommand whose flags were wrong, and a space, or "".
func commandOf(err error) string {
	wrong, ok := errors.AsType[*kong.ParseError](err)
	if !ok || wrong.Context == nil || wrong.Context.Selected() == nil {
		return ""
	}
	return wrong.Context.Selected().Name + " "
}

// exitCode prints the error, if there is one, and returns its code.
func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "hallmark:", err)
	if c, ok := errors.AsType[*codedError](err); ok {
		return c.code
	}
	return exitError
}

// VersionCmd is the subcommand version.
type VersionCmd struct{}

// Run prints the version.
func (*VersionCmd) Run(stdout io.Writer) error {
	_, err := fmt.Fprintln(stdout, "hallmark", version)
	return err
}
