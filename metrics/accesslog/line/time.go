package line

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Time is a piece of how a time is written. One of its fields is set.
type Time struct {
	Literal string
	Layout  string // of package time
	Digits  int    // of the fraction of a second
	Seconds bool   // since 1970
}

// layouts are those of strftime's conversions that there are.
func layouts() map[byte]string {
	return map[byte]string{
		'Y': "2006", 'y': "06", 'm': "01", 'b': "Jan", 'd': "02", 'e': "_2", 'a': "Mon", 'j': "002",
		'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'F': "2006-01-02", 'T': "15:04:05",
		'z': "-0700", 'Z': "MST",
	}
}

// parseTime parses a format of strftime's, with Envoy's %f and %1f to %9f.
func parseTime(format string) ([]Time, error) {
	var parts []Time
	known := layouts()
	for rest := format; rest != ""; {
		literal, after, found := strings.Cut(rest, "%")
		if literal != "" {
			parts = append(parts, Time{Literal: literal})
		}
		if rest = after; !found {
			break
		}
		digits, n := 9, 1
		if len(rest) > 1 && rest[0] >= '1' && rest[0] <= '9' && rest[1] == 'f' {
			digits, _ = strconv.Atoi(rest[:1]) // it is one
			rest = rest[1:]
		}
		switch {
		case rest == "":
			return nil, fmt.Errorf("%q ends in a percent sign", format)
		case rest[0] == '%':
			parts = append(parts, Time{Literal: "%"})
		case rest[0] == 'f':
			parts = append(parts, Time{Digits: digits})
		case rest[0] == 's':
			parts = append(parts, Time{Seconds: true})
		case known[rest[0]] != "":
			parts = append(parts, Time{Layout: known[rest[0]]})
		default:
			return nil, fmt.Errorf("%q is none of what a time can be written with", "%"+rest[:n])
		}
		rest = rest[n:]
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("%q says nothing of the time", format)
	}
	return parts, nil
}

// Append appends the time, in UTC, as it is to be written.
func (p *Part) Append(b []byte, t time.Time) []byte {
	t = t.UTC()
	if p.Time == nil {
		return t.AppendFormat(b, "2006-01-02T15:04:05.000Z07:00")
	}
	for _, part := range p.Time {
		switch {
		case part.Layout != "":
			b = t.AppendFormat(b, part.Layout)
		case part.Seconds:
			b = strconv.AppendInt(b, t.Unix(), 10)
		case part.Digits > 0:
			fraction := t.AppendFormat(nil, ".000000000")
			b = append(b, fraction[1:1+part.Digits]...)
		default:
			b = append(b, part.Literal...)
		}
	}
	return b
}
