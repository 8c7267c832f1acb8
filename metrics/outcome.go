package metrics

// Flag is a value of the label response_flags: Envoy's flags, which dashboards
// know, and one of ztunnel's.
type Flag uint8

// The flags. The zero value is an orderly end.
const (
	FlagNone                  Flag = iota // -: nothing to say
	FlagUpstreamFailure                   // UF: the upstream connection could not be made
	FlagUpstreamTermination               // UC: the upstream connection broke
	FlagDownstreamTermination             // DC: the downstream connection broke
	FlagNoRoute                           // NR: nothing is configured for it
	FlagNoHealthyUpstream                 // UH: there is no endpoint to dial
	FlagOverflow                          // UO: a limit was met
	FlagDenied                            // DENY: authorisation refused it (ztunnel's name)
	FlagRefused                           // UAEX: the peer refused us
	FlagLocalReset                        // LR: we ended it: draining, a change of trust or of policy
	FlagIdleTimeout                       // SI: it stood still for too long
	FlagTimeout                           // UT: the upstream did not answer in time
	FlagDownstreamProtocol                // DPE: the downstream broke the protocol
	FlagUpstreamProtocol                  // UPE: the upstream broke the protocol

	flags int = iota
)

// String returns the flag as the label has it.
func (f Flag) String() string {
	names := [flags]string{"-", "UF", "UC", "DC", "NR", "UH", "UO", "DENY", "UAEX", "LR", "SI", "UT", "DPE", "UPE"}
	if int(f) >= flags {
		return names[FlagNone]
	}
	return names[f]
}

// Outcome is how a connection ended. The zero value is an orderly end.
type Outcome struct {
	// Flag is for the label response_flags.
	Flag Flag

	// Reason is one stable word in snake_case out of a small set, for our own
	// metrics and the log; "" means [ReasonOK].
	Reason string

	// Err says more, for the log; nil on an orderly end.
	Err error
}

// ReasonOK is the reason of an orderly end.
const ReasonOK = "ok"
