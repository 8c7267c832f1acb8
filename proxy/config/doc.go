// Package config is what an operator writes: the resources that say what a
// proxy does, their strict validation, and watching the files that hold them.
// It is the only place that reads settings from files.
//
// A [Config] is one immutable snapshot of everything, with defaults filled in.
// It is plain data: this package opens no socket, dials nothing and asks no
// peer, and package proxy translates it into what the stages need.
package config
