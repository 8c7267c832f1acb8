package config

// Config is everything that was configured, as one snapshot. It is immutable:
// who has one only reads it.
type Config struct {
	// Proxy is the settings of the process.
	Proxy Proxy

	// Inbounds, Outbounds and Policies are in the order of their files' names,
	// and in a file in its order; those of flags come first.
	Inbounds  []Inbound
	Outbounds []Outbound
	Policies  []AuthorizationPolicy

	// Warnings say what is allowed and rarely meant, one line each, with file
	// and line.
	Warnings []string

	// Version identifies the content: equal for equal settings, whatever the
	// layout and comments of the files.
	Version string
}
