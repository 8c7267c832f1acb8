// Package discovery finds where a target is: the addresses that are configured,
// or all that a name has, resolved again as its records expire. It keeps the
// last good answer while DNS fails, and says so.
//
// It opens no connection to what it finds, and does not choose among it.
package discovery
