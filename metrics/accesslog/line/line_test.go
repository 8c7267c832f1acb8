package line

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	const text = "[%START_TIME%] \"%REQ(X?:PATH):10%\" 100%% %SOURCE_ATTRIBUTE(k8s.namespace.name):5%%DURATION%\n"
	l, err := Parse(strings.Replace(text, "X", ":method", 1))
	if err != nil {
		t.Fatal(err)
	}
	want := []Part{
		{Literal: "["},
		{Op: "START_TIME"},
		{Literal: "] \""},
		{Op: "REQ", Names: []string{":method", ":path"}, Max: 10},
		{Literal: "\" 100% "},
		{Op: "SOURCE_ATTRIBUTE", Names: []string{"k8s.namespace.name"}, Max: 5},
		{Op: "DURATION"},
	}
	if !reflect.DeepEqual(l.Parts(), want) {
		t.Errorf("got %+v", l.Parts())
	}
	if l.String() != strings.Replace(text, "X", ":method", 1) || l.IsZero() || !(Line{}).IsZero() {
		t.Errorf("it says of itself %q", l)
	}
}

// TestRefused says what is wrong, with the operator's name.
func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "is empty",
		"\n":                               "is empty",
		"a\nb":                             `holds '\n'`,
		"\x1b[31m":                         `holds '\x1b'`,
		"\xff":                             "UTF-8",
		"%NOPE%":                           "there is no operator %NOPE%",
		"%DURATION":                        "%DURATION has no percent sign at its end",
		"%DURATION %":                      `takes nothing like " "`,
		"100% sure":                        "a percent sign is written %%",
		"50%":                              "a percent sign is written %%",
		"%REQ%":                            "which field is missing",
		"%REQ(USER-AGENT)%":                `%REQ(USER-AGENT)%: "user-agent" is not recorded`,
		"%REQ(:PATH?:METHOD?:PATH)%":       "one other field",
		"%REQ(:PATH%":                      "no closing parenthesis",
		"%REQ(:PATH):0%":                   "no number of bytes from 1 to 2048",
		"%REQ(:PATH):2049%":                "no number of bytes",
		"%REQ(:PATH):x%":                   "no number of bytes",
		"%DURATION(ms)%":                   "%DURATION(ms)%: takes nothing in parentheses",
		"%DURATION:5%":                     "takes nothing like",
		"%SOURCE_ATTRIBUTE%":               "which attribute is missing",
		"%SOURCE_ATTRIBUTE(K8s)%":          "%SOURCE_ATTRIBUTE(K8s)%",
		"%START_TIME(%Q)%":                 `"%Q" is none`,
		"%START_TIME()%":                   "says nothing",
		"%START_TIME(x%)%":                 "ends in a percent sign",
		strings.Repeat("x", MaxText+1):     "more than the 4096",
		strings.Repeat("%DURATION%", 101):  "more than the 100 operators",
		"%RESP(X-ENVOY-UPSTREAM-SERVICE)%": "there is no operator %RESP%",
	} {
		if _, err := Parse(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 11, 5, 7, 8, 9, 12345678, time.FixedZone("", 3600))
	for format, want := range map[string]string{
		"%Y/%m/%dT%H:%M:%S%z %s": "2026/11/05T06:08:09+0000 1793858889",
		"%F %T.%3f":              "2026-11-05 06:08:09.012",
		"%f|%1f|%9f":             "012345678|0|012345678",
		"%a, %d %b %y %e %j %Z":  "Thu, 05 Nov 26  5 309 UTC",
		"Jan 2006 %I%p %%":       "Jan 2006 06AM %",
	} {
		l, err := Parse("%START_TIME(" + format + ")%")
		if err != nil {
			t.Fatal(err)
		}
		if got := string(l.Parts()[0].Append(nil, at)); got != want {
			t.Errorf("%s: %q, want %q", format, got, want)
		}
	}
	if got := string((&Part{}).Append(nil, at)); got != "2026-11-05T06:08:09.012Z" {
		t.Errorf("without a format: %q", got)
	}
}

// FuzzParse holds what is taken to be one printable line within its bounds.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"[%START_TIME(%Y-%m-%dT%H:%M:%S.%3f%z)%] \"%REQ(:METHOD)% %REQ(:AUTHORITY?:PATH):99%\" %RESPONSE_CODE%\n",
		"%%%DURATION%%%", "%SOURCE_ATTRIBUTE(k8s.namespace.name)%", "%", "%(%", "%REQ(%", "%START_TIME(%9", "ü\u202e",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := Parse(text)
		if err != nil {
			return
		}
		if l.String() != text || len(l.Parts()) == 0 || len(l.Parts()) > 2*MaxOperators+1 {
			t.Errorf("%q became %q of %d parts", text, l, len(l.Parts()))
		}
		for _, p := range l.Parts() {
			if (p.Literal == "") == (p.Op == "") || strings.ContainsAny(p.Literal, "\n\r\x1b\u202e") || p.Max > MaxValue {
				t.Errorf("%q: %+v", text, p)
			}
			if p.Op == "START_TIME" {
				if b := p.Append(nil, time.Unix(0, 0)); len(b) > 10*MaxText {
					t.Errorf("%q makes a time of %d bytes", text, len(b))
				}
			}
		}
		again, err := Parse(l.String())
		if err != nil || !reflect.DeepEqual(again, l) {
			t.Errorf("%q: parsed again it is %+v, %v", text, again, err)
		}
	})
}
