package h2

// entry is a field of a compression table.
type entry struct{ name, value string }

// size is what the entry counts for (RFC 7541, section 4.1).
func (e entry) size() int { return len(e.name) + len(e.value) + 32 }

// table is a dynamic table (RFC 7541, section 2.3.2): a ring, newest last.
type table struct {
	ring      []entry // its length is a power of two, or 0
	first, n  int     // the oldest entry, and how many there are
	size, max int
	inserted  uint64 // entries ever inserted

	// onEvict, unless nil, is told of each entry that leaves, with its number:
	// the value of inserted before it came.
	onEvict func(e entry, number uint64)
}

// at returns the entry of a dynamic index from 0, the newest.
func (t *table) at(i int) (entry, bool) {
	if i < 0 || i >= t.n {
		return entry{}, false
	}
	return t.ring[(t.first+t.n-1-i)&(len(t.ring)-1)], true
}

// add inserts an entry and evicts what it displaces, which may be itself.
func (t *table) add(e entry) {
	t.shrink(t.max - e.size())
	if e.size() > t.max {
		return
	}
	if t.n == len(t.ring) {
		t.widen()
	}
	t.ring[(t.first+t.n)&(len(t.ring)-1)] = e
	t.n++
	t.size += e.size()
	t.inserted++
}

func (t *table) widen() {
	wide := make([]entry, max(8, 2*len(t.ring)))
	for i := range t.n {
		wide[i] = t.ring[(t.first+i)&(len(t.ring)-1)]
	}
	t.ring, t.first = wide, 0
}

// resize sets the maximum size.
func (t *table) resize(size int) {
	t.max = size
	t.shrink(size)
}

// shrink evicts the oldest entries until the size is at most size.
func (t *table) shrink(size int) {
	for t.n > 0 && t.size > size {
		e := t.ring[t.first]
		if t.onEvict != nil {
			t.onEvict(e, t.inserted-uint64(t.n))
		}
		t.ring[t.first] = entry{}
		t.first = (t.first + 1) & (len(t.ring) - 1)
		t.n--
		t.size -= e.size()
	}
}

// staticTable is that of RFC 7541, appendix A; index 1 is the first.
var staticTable = [...]entry{
	{":authority", ""},
	{":method", "GET"},
	{":method", "POST"},
	{":path", "/"},
	{":path", "/index.html"},
	{":scheme", "http"},
	{":scheme", "https"},
	{":status", "200"},
	{":status", "204"},
	{":status", "206"},
	{":status", "304"},
	{":status", "400"},
	{":status", "404"},
	{":status", "500"},
	{"accept-charset", ""},
	{"accept-encoding", "gzip, deflate"},
	{"accept-language", ""},
	{"accept-ranges", ""},
	{"accept", ""},
	{"access-control-allow-origin", ""},
	{"age", ""},
	{"allow", ""},
	{"authorization", ""},
	{"cache-control", ""},
	{"content-disposition", ""},
	{"content-encoding", ""},
	{"content-language", ""},
	{"content-length", ""},
	{"content-location", ""},
	{"content-range", ""},
	{"content-type", ""},
	{"cookie", ""},
	{"date", ""},
	{"etag", ""},
	{"expect", ""},
	{"expires", ""},
	{"from", ""},
	{"host", ""},
	{"if-match", ""},
	{"if-modified-since", ""},
	{"if-none-match", ""},
	{"if-range", ""},
	{"if-unmodified-since", ""},
	{"last-modified", ""},
	{"link", ""},
	{"location", ""},
	{"max-forwards", ""},
	{"proxy-authenticate", ""},
	{"proxy-authorization", ""},
	{"range", ""},
	{"referer", ""},
	{"refresh", ""},
	{"retry-after", ""},
	{"server", ""},
	{"set-cookie", ""},
	{"strict-transport-security", ""},
	{"transfer-encoding", ""},
	{"user-agent", ""},
	{"vary", ""},
	{"via", ""},
	{"www-authenticate", ""},
}

// staticNames are the first index of each name, and staticPairs the index of
// each entry with a value.
var staticNames, staticPairs = indexStatic()

func indexStatic() (names map[string]int, pairs map[entry]int) {
	names, pairs = make(map[string]int), make(map[entry]int)
	for i, e := range staticTable {
		if _, known := names[e.name]; !known {
			names[e.name] = i + 1
		}
		if e.value != "" {
			pairs[e] = i + 1
		}
	}
	return names, pairs
}
