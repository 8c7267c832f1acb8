package watch

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks bounds the symbolic links on one way (Linux: path_resolution(7)).
const maxLinks = 40

// trail returns the entries whose change may change what path leads to, in the
// order in which the kernel meets them: every symbolic link on the way, and the
// file at its end or the first entry that is not there. No entry's folder goes
// through a link.
func trail(path string) []string {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil
	}
	var met []string
	at, ahead := root(path), elements(path)
	for links := 0; len(ahead) > 0 && links <= maxLinks; {
		name := ahead[0]
		ahead = ahead[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		entry := filepath.Join(at, name)
		info, err := os.Lstat(entry)
		switch {
		case err != nil:
			return append(met, entry)
		case info.Mode()&fs.ModeSymlink != 0:
			met = append(met, entry)
			links++
			target, err := os.Readlink(entry)
			if err != nil {
				return met
			}
			if filepath.IsAbs(target) {
				at = root(target)
			}
			ahead = append(elements(target), ahead...)
		case len(ahead) == 0:
			met = append(met, entry)
		default:
			at = entry
		}
	}
	return met
}

// root returns the root of an absolute path's volume.
func root(path string) string { return filepath.VolumeName(path) + string(filepath.Separator) }

// elements returns the names in a path, without empty ones and dots. It does
// not resolve "..", which links may stand before.
func elements(path string) []string {
	var names []string
	for name := range strings.SplitSeq(filepath.ToSlash(path[len(filepath.VolumeName(path)):]), "/") {
		if name != "" && name != "." {
			names = append(names, name)
		}
	}
	return names
}
