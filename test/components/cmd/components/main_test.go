package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args []string
		want string // in the output
		err  string // in the error
	}{
		{args: []string{"-list"}, want: "spire-server"},
		{args: []string{"-path", "gofumpt"}, want: "/gofumpt\n"},
		{args: []string{"-path", "openssl"}, want: openssl + "\n"},
		{args: []string{"-path", "no-such-program"}, err: "no-such-program"},
		{args: []string{"spire"}, err: `unexpected argument "spire"`},
		{args: []string{"-nonsense"}, err: "nonsense"},
	} {
		var out bytes.Buffer
		err := run(t.Context(), &out, test.args)
		if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%q: %v, want %q", test.args, err, test.err)
		}
		if !strings.Contains(out.String(), test.want) {
			t.Errorf("%q printed %q, want %q", test.args, &out, test.want)
		}
	}
}
