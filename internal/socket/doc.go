// Package socket reads and writes sockets without waiting: one attempt, which
// moves what can be moved now. It is what the data path's loops, inside
// [syscall.RawConn], are made of; it opens nothing, closes nothing, and keeps
// nothing.
//
// # Why not package syscall
//
// syscall.Read and Write tell Go's scheduler that the thread may block, so that
// it can lend the processor to another. That costs little in itself, but a write
// to a socket is often long for its work (on loopback it runs the receiver's side
// of TCP, and on a busy machine the kernel may take the processor meanwhile), and
// what lasts 20 µs is taken for blocked: the scheduler's monitor hands the
// processor to another thread, which has to be woken up, and then goes on looking
// every 20 µs. That was a seventh of what a proxy used under load. A call that is
// told not to wait never blocks, so there is nothing to tell.
//
// On Linux, then, the calls are made raw, each with MSG_DONTWAIT: a socket that
// somebody has put into blocking mode blocks nobody. That is the one use of unsafe
// here, for the addresses of arguments, in the form that package unsafe allows for
// system calls (its fourth rule). Elsewhere, and under the race detector, which
// learns from package syscall what comes through a socket before what, it is
// package syscall.
package socket
