// Package admin is what the operator looks at: two HTTP ports, of which neither
// can change anything.
//
// [Public] may face the network: metrics, and whether the process lives and is
// ready. [Operator] shows the configuration in force, the sessions with peers, what
// happens now and, if switched on, profiles; it belongs on loopback, and refuses what a
// browser could be led to ask it from a foreign page. [Serve] runs either with
// limits and timeouts.
//
// The package never changes or stops the proxy: it takes GET and HEAD and nothing
// else, takes of a query only how long to profile and what to show, reads no body,
// and gets all that it shows through functions it is given.
package admin
