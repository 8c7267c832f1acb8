package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// lint runs gofumpt, go vet and golangci-lint, all three also if one fails.
func (p project) lint(ctx context.Context) error {
	return errors.Join(p.format(ctx), p.vet(ctx), p.golangci(ctx))
}

// format fails if gofumpt would change a file, and names it.
func (p project) format(ctx context.Context) error {
	gofumpt, err := components.Lookup(components.Gofumpt)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := p.execTo(ctx, &out, gofumpt, "-l", "."); err != nil {
		return fmt.Errorf("%w\n%s", err, out.Bytes())
	}
	if out.Len() > 0 {
		fmt.Fprintf(p.out, "%s", out.Bytes())
		return errors.New("gofumpt would change the files above: run `make fmt`")
	}
	return nil
}

func (p project) vet(ctx context.Context) error {
	return p.exec(ctx, "go", "vet", "./...")
}

func (p project) golangci(ctx context.Context) error {
	golangci, err := components.Lookup(components.GolangciLint)
	if err != nil {
		return err
	}
	return p.exec(ctx, golangci, "run", "./...")
}
