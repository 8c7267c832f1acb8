// Package dial connects to one of the addresses behind a target: it spreads
// connections over them, tries the families in turn without waiting for one that
// does not answer (Happy Eyeballs, RFC 8305), and says of every address why it
// failed.
//
// It resolves no names, keeps no connections, and knows nothing of what is
// spoken on them.
package dial
