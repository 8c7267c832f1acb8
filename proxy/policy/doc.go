// Package policy answers one question: may this peer do this? Denials come
// first, then whatever allows; where nothing is said, the own trust domain may
// and nobody else.
//
// It never reads from a connection, never waits, and holds no state: the same
// question has the same answer for the life of a [Set].
package policy
