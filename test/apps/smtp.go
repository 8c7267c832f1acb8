package apps

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hallmark-mesh/hallmark/test/components"
)

// SMTP is a running SMTP server, aiosmtpd, that keeps what it is sent in a
// folder. The server speaks first.
type SMTP struct {
	Addr   string // host:port that clients connect to
	Server *components.Running

	mail string // a Maildir
}

// StartSMTP runs the SMTP server.
func StartSMTP(tb testing.TB) *SMTP {
	tb.Helper()
	s := &SMTP{Addr: components.FreeAddr(tb), mail: filepath.Join(components.TempDirFor(tb, nil), "mail")}
	s.Server = components.Start(tb, components.Process{
		Path: components.Command(tb, "aiosmtpd"), Args: []string{"-n", "-l", s.Addr, "-c", "aiosmtpd.handlers.Mailbox", s.mail},
		Ready: components.Accepts("tcp", s.Addr),
	})
	return s
}

// Via returns the handle of the same server behind another address.
func (s *SMTP) Via(addr string) *SMTP {
	other := *s
	other.Addr = addr
	return &other
}

// Send sends a message, headers and body, by curl.
func (s *SMTP) Send(tb testing.TB, from, to, message string) {
	tb.Helper()
	file := writeFor(tb, nil, tb.TempDir(), "message", []byte(message))
	run(tb, "curl", nil, "--silent", "--show-error", "--connect-timeout", "60", "--url", "smtp://"+s.Addr,
		"--mail-from", from, "--mail-rcpt", to, "--upload-file", file, "--crlf")
}

// Received returns the messages that have arrived, in no order.
func (s *SMTP) Received(tb testing.TB) []string {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(s.mail, "new", "*"))
	if err != nil {
		tb.Fatalf("apps: %v", err)
	}
	var messages []string
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			tb.Fatalf("apps: %v", err)
		}
		messages = append(messages, string(content))
	}
	return messages
}
