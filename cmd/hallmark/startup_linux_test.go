package main

import "testing"

func TestMapping(t *testing.T) {
	const file = "/usr/bin/hall mark"
	for line, want := range map[string][2]uintptr{
		"00400000-00ded000 r-xp 00000000 fe:00 10823471                           /usr/bin/hall mark": {0x400000, 0xded000},
		"00ded000-01928000 r--p 009ed000 fe:00 10823471                           /usr/bin/hall mark": {0xded000, 0x1928000},
		"01928000-019b4000 rw-p 01528000 fe:00 10823471                           /usr/bin/hall mark": {},
		"00400000-00ded000 r-xp 00000000 fe:00 10823471                           /usr/bin/hall":      {},
		"00400000-00ded000 r-xp 00000000 00:00 0 ":                                                    {},
		"00ded000-00400000 r-xp 00000000 fe:00 1 /usr/bin/hall mark":                                  {},
		"garbage": {},
	} {
		from, to, ok := mapping(line, file)
		if ok != (want != [2]uintptr{}) || ok && [2]uintptr{from, to} != want {
			t.Errorf("%s: got %#x to %#x, %v", line, from, to, ok)
		}
	}
}

// TestForgetStartup: the program still runs, and as it did.
func TestForgetStartup(t *testing.T) {
	forgetStartup()
	TestMapping(t)
}
