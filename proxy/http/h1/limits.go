package h1

// Limits bound what a message may hold. The zero value of each means its
// default.
type Limits struct {
	// HeadBytes bounds a head, from the request or status line to the empty
	// line.
	HeadBytes int

	// Fields bounds the number of field lines of a head, and of a trailer
	// section.
	Fields int

	// TrailerBytes bounds a trailer section.
	TrailerBytes int

	// ChunkOverhead bounds what chunked coding may add to the content of one
	// body, beyond sixteen bytes for each chunk of at least 64 bytes and the
	// content itself: tiny chunks and long extensions use it up.
	ChunkOverhead int64
}

// The defaults.
const (
	DefaultHeadBytes     = 64 << 10
	DefaultFields        = 128
	DefaultTrailerBytes  = 16 << 10
	DefaultChunkOverhead = 1 << 20
)

// Defaults returns the limits with the defaults in place of zeros.
func (l Limits) Defaults() Limits {
	if l.HeadBytes <= 0 {
		l.HeadBytes = DefaultHeadBytes
	}
	if l.Fields <= 0 {
		l.Fields = DefaultFields
	}
	if l.TrailerBytes <= 0 {
		l.TrailerBytes = DefaultTrailerBytes
	}
	if l.ChunkOverhead <= 0 {
		l.ChunkOverhead = DefaultChunkOverhead
	}
	return l
}
