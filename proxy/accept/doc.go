// Package accept takes connections from listening sockets: within limits, with
// the socket options that keep dead peers from staying, and with the original
// addresses where a PROXY protocol header tells them.
//
// It hands each connection to a function and waits for all of them when told to
// stop: gracefully first, then by force. It never reads a byte beyond a PROXY
// protocol header.
package accept
