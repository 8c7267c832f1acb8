package arch

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Violation is a rule broken at a place.
type Violation struct {
	Place  string // a file or a folder, relative to the module
	What   string
	Reason string
}

// String returns the violation on one line.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s: %s", v.Place, v.What, v.Reason)
}

// Check returns what the module at root violates, sorted by place.
func (m *Module) Check(rooms []Room) []Violation {
	var found []Violation
	for _, p := range m.packages {
		found = append(found, m.checkPackage(p, rooms)...)
	}
	slices.SortFunc(found, func(a, b Violation) int { return strings.Compare(a.String(), b.String()) })
	return found
}

func (m *Module) checkPackage(p *pkg, rooms []Room) []Violation {
	found := checkName(p)
	if !p.documented() {
		found = append(found, Violation{p.dir, "has no package comment", "a package says what it is for and what it never does, in its doc comment"})
	}
	i := slices.IndexFunc(rooms, func(r Room) bool { return r.holds(p.dir) })
	if i < 0 {
		return append(found, Violation{p.dir, "is in no room", "test/arch/rooms.go lists the rooms and what they may import"})
	}
	room := rooms[i].in(p.dir)
	for _, f := range p.files {
		for _, imported := range f.imports {
			if reason, bad := m.judge(room, f, imported); bad {
				found = append(found, Violation{f.name, fmt.Sprintf("imports %s", imported), reason})
			}
		}
	}
	return found
}

// judge reports whether a file of the room may not import a package, and why.
func (m *Module) judge(room Room, f file, imported string) (reason string, bad bool) {
	production := !f.test && !within("test", room.Dir)
	if reason, ok := neverInProduction()[imported]; ok && production {
		return reason, true
	}
	if production && slices.ContainsFunc(room.Never, func(p string) bool { return within(p, imported) }) {
		return room.Reason, true
	}
	ours, ok := m.relative(imported)
	if !ok || room.holds(ours) {
		return "", false
	}
	allowed := room.Imports
	if f.test {
		allowed = append(slices.Clone(allowed), testImports()...)
	}
	if slices.ContainsFunc(allowed, func(pattern string) bool { return matches(pattern, ours) }) {
		return "", false
	}
	if within("test", ours) {
		return "production code imports nothing from test", true
	}
	return room.Reason, true
}

// relative returns the folder of an import of ours, relative to the module.
func (m *Module) relative(imported string) (dir string, ours bool) {
	if imported == m.path {
		return ".", true
	}
	return strings.CutPrefix(imported, m.path+"/")
}

func checkName(p *pkg) []Violation {
	var found []Violation
	for _, name := range slices.Sorted(maps.Keys(p.names)) {
		base := strings.TrimSuffix(name, "_test")
		for _, banned := range bannedNames() {
			if base == banned || path.Base(p.dir) == banned {
				found = append(found, Violation{p.dir, fmt.Sprintf("package %s has a name that says nothing", name), "call it after what it provides"})
			}
		}
	}
	return found
}

// holds reports whether the package in dir is in the room.
func (r Room) holds(dir string) bool { return matches(r.Dir, dir) }

// in returns the room with the "*" of its Dir replaced by what it stands for in
// dir, so that a folder of proxy is a room of its own.
func (r Room) in(dir string) Room {
	before, _, starred := strings.Cut(r.Dir, "*")
	if !starred {
		return r
	}
	name, _, _ := strings.Cut(strings.TrimPrefix(dir, before), "/")
	r.Dir = strings.Replace(r.Dir, "*", name, 1)
	return r
}

// matches reports whether dir matches a pattern: a folder, a folder and all
// below it ("x/..."), with "*" for exactly one element of a path.
func matches(pattern, dir string) bool {
	if pattern == "..." {
		return true
	}
	prefix, below := strings.CutSuffix(pattern, "/...")
	want, got := strings.Split(prefix, "/"), strings.Split(dir, "/")
	if len(got) < len(want) || len(got) > len(want) && !below {
		return false
	}
	for i, element := range want {
		if element != "*" && element != got[i] {
			return false
		}
	}
	return true
}

// within reports whether dir is parent or below it.
func within(parent, dir string) bool {
	return matches(parent+"/...", dir)
}
