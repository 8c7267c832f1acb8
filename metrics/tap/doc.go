// Package tap is the live view: requests and connections as they happen, and who
// talks to whom at which rate.
//
// A [Tap] is a sink of package metrics. As long as nobody watches, it costs an
// atomic load for each event. A [Watch] has a [Filter], which is asked before
// anything is copied, and a bounded queue: one that is not read in time loses
// events and is told how many, and never holds up or fails what it watches.
// Whatever filters and sampling the access log has are of no concern here.
//
// [Event] and [Stat] are what is shown, in the form that the admin port's API has.
// What a peer or a client has said is made fit to be shown first. Bodies, header
// values and queries are never shown.
package tap
