//go:build long

package conformance_test

import "testing"

// TestNoRequestLostLong is TestNoRequestLost with more than ten thousand requests.
func TestNoRequestLostLong(t *testing.T) { loseNone(t, 16_000) }
