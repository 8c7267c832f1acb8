// Command components provides the real programs that the tests run: see package
// components. `make components` calls it.
//
// Without arguments it installs and builds whatever is missing. With -tools it
// builds only the tools that check the code, with -bench only what benchmarks
// compare with; with -path it prints where one
// program is; with -list it lists what is pinned and what is in the cache.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/hallmark-mesh/hallmark/test/components"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Stdout, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, args []string) error {
	flags := flag.NewFlagSet("components", flag.ContinueOnError)
	list := flags.Bool("list", false, "list the programs that are built from source, and where they are")
	tools := flags.Bool("tools", false, "build only the tools that check the code")
	bench := flags.Bool("bench", false, "install and build only what benchmarks compare with")
	program := flags.String("path", "", "print where `program` is, be it built from source or Debian's")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("components: unexpected argument %q", flags.Arg(0))
	}
	switch {
	case *list:
		return components.List(out)
	case *program != "":
		return printPath(out, *program)
	case *tools:
		return components.Ensure(ctx, out, components.Tools)
	case *bench:
		return components.Ensure(ctx, out, components.Benchmarks)
	default:
		return components.Ensure(ctx, out, components.Everything)
	}
}

func printPath(out io.Writer, program string) error {
	file, err := components.Lookup(components.Binary(program))
	if err != nil {
		var debianErr error
		if file, debianErr = components.LookPath(program); debianErr != nil {
			return fmt.Errorf("%w\n%w", err, debianErr)
		}
	}
	_, err = fmt.Fprintln(out, file)
	return err
}
