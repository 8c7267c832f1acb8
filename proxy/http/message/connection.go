package message

import (
	"slices"
	"strings"
)

// IsConnectionSpecific reports whether fields of that name belong to one
// HTTP/1.1 connection and not to the message (RFC 9110, section 7.6.1, RFC
// 9113, section 8.2.2). TE is one of them save for the value trailers.
func IsConnectionSpecific(name string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "http2-settings":
		return true
	}
	return false
}

// Nominated reports whether a Connection field among the fields names it.
func Nominated(fields []Field, name string) bool { return Has(fields, "connection", name) }

// CheckConnection refuses Connection fields that name what every recipient
// needs: to drop it would change what the message is, or where it goes.
func CheckConnection(fields []Field) *Error {
	for i := range fields {
		if fields[i].Name != "connection" {
			continue
		}
		for list := fields[i].Value; list != ""; {
			var option string
			option, list = NextToken(list)
			switch {
			case option == "":
			case !IsToken(option):
				return Refuse(BadConnection, "option %.40q is no token", option)
			case strings.EqualFold(option, "host"), strings.EqualFold(option, "content-length"),
				strings.EqualFold(option, "transfer-encoding"), strings.EqualFold(option, "content-type"),
				strings.EqualFold(option, "authorization"), strings.EqualFold(option, "cookie"):
				return Refuse(BadConnection, "names %.40q", option)
			}
		}
	}
	return nil
}

// DropConnectionSpecific removes, in place, the fields that belong to the
// connection: those of [IsConnectionSpecific], and those that a Connection field
// names. TE: trailers stays.
func DropConnectionSpecific(fields []Field) []Field {
	nominated := false
	for i := range fields {
		if fields[i].Name == "connection" && !plainOption(fields[i].Value) {
			nominated = true
			break
		}
	}
	kept := 0
	for i := range fields {
		f := fields[i]
		if f.Name == "te" && HasToken(f.Value, "trailers") {
			fields[kept] = Field{Name: "te", Value: "trailers"}
			kept++
			continue
		}
		if IsConnectionSpecific(f.Name) {
			// It stays where it is until the names in it have been applied.
			if nominated && f.Name == "connection" {
				fields[kept] = f
				kept++
			}
			continue
		}
		fields[kept] = f
		kept++
	}
	clear(fields[kept:])
	fields = fields[:kept]
	if nominated {
		fields = dropNominated(fields)
	}
	return fields
}

// plainOption reports whether a Connection field says no more than how long the
// connection lives, or that the other connection fields are there.
func plainOption(v string) bool {
	switch len(v) {
	case len("close"):
		return strings.EqualFold(v, "close")
	case len("upgrade"):
		return strings.EqualFold(v, "upgrade")
	case len("keep-alive"):
		return strings.EqualFold(v, "keep-alive")
	}
	return false
}

// dropNominated removes what Connection fields name, and those fields.
func dropNominated(fields []Field) []Field {
	var names []string
	for i := range fields {
		if fields[i].Name != "connection" {
			continue
		}
		for list := fields[i].Value; list != ""; {
			var option string
			option, list = NextToken(list)
			if !strings.EqualFold(option, "te") { // TE: trailers is ours to repeat
				names = append(names, strings.ToLower(option))
			}
		}
	}
	kept := 0
	for i := range fields {
		if fields[i].Name == "connection" || slices.Contains(names, fields[i].Name) {
			continue
		}
		fields[kept] = fields[i]
		kept++
	}
	clear(fields[kept:])
	return fields[:kept]
}

// ForbiddenInTrailer reports whether fields of that name may not come in
// trailers (RFC 9110, section 6.5.1): those that frame, route, authenticate or
// control the message have been acted on by then.
func ForbiddenInTrailer(name string) bool {
	switch name {
	case "content-length", "host", "trailer", "expect", "max-forwards", "authorization", "cookie", "set-cookie",
		"content-encoding", "content-type", "content-range", "range", "cache-control":
		return true
	}
	return IsConnectionSpecific(name)
}
