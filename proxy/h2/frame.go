package h2

// frameHeaderLen is the length of a frame's header (RFC 9113, section 4.1).
const frameHeaderLen = 9
