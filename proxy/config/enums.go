package config

// enum is a scalar with a closed set of values.
type enum interface {
	// values returns them, in the order in which they are documented.
	values() []string
}

// Peers says whether peers that know SPIFFE but not the handshake context will
// do.
type Peers string

// What [Peers] can be.
const (
	Prefer  Peers = "Prefer"
	Require Peers = "Require"
)

func (Peers) values() []string { return []string{string(Prefer), string(Require)} }

// Plaintext says what becomes of connections that are not TLS.
type Plaintext string

// What [Plaintext] can be.
const (
	Deny       Plaintext = "Deny"
	Permissive Plaintext = "Permissive"
)

func (Plaintext) values() []string { return []string{string(Deny), string(Permissive)} }

// Session says how bytes are framed between proxies: Raw is one TLS connection
// for each stream, Mux many streams on one TLS connection, and H2 HTTP messages,
// request by request. Auto chooses: H2 for HTTP, else Mux or Raw.
type Session string

// What a [Session] can be.
const (
	Auto Session = "Auto"
	Raw  Session = "Raw"
	Mux  Session = "Mux"
	H2   Session = "H2"
)

func (Session) values() []string {
	return []string{string(Auto), string(Raw), string(Mux), string(H2)}
}

// ProxyProtocol says whether a PROXY protocol header is sent, and its version.
type ProxyProtocol string

// What [ProxyProtocol] can be.
const (
	ProxyProtocolNone ProxyProtocol = "None"
	ProxyProtocolV2   ProxyProtocol = "V2"
)

func (ProxyProtocol) values() []string {
	return []string{string(ProxyProtocolNone), string(ProxyProtocolV2)}
}

// Action says whether rules allow or deny.
type Action string

// The actions.
const (
	ActionAllow Action = "ALLOW"
	ActionDeny  Action = "DENY"
)

func (Action) values() []string { return []string{string(ActionAllow), string(ActionDeny)} }

// Enforcement says whether a policy takes effect.
type Enforcement string

// What [Enforcement] can be.
const (
	Enforce Enforcement = "Enforce"
	Audit   Enforcement = "Audit"
)

func (Enforcement) values() []string { return []string{string(Enforce), string(Audit)} }

// LogFormat is that of a log's lines.
type LogFormat string

// The formats: JSON for machines, Console for people.
const (
	FormatJSON    LogFormat = "JSON"
	FormatConsole LogFormat = "Console"
)

func (LogFormat) values() []string { return []string{string(FormatJSON), string(FormatConsole)} }

// LoggedRequests says which requests are logged.
type LoggedRequests string

// What [LoggedRequests] can be.
const (
	RequestsAll    LoggedRequests = "All"
	RequestsFailed LoggedRequests = "Failed"
	RequestsNone   LoggedRequests = "None"
)

func (LoggedRequests) values() []string {
	return []string{string(RequestsAll), string(RequestsFailed), string(RequestsNone)}
}

// LogLevel is how important something is that is logged.
type LogLevel string

// The levels.
const (
	LevelDebug LogLevel = "Debug"
	LevelInfo  LogLevel = "Info"
	LevelWarn  LogLevel = "Warn"
	LevelError LogLevel = "Error"
)

func (LogLevel) values() []string {
	return []string{string(LevelDebug), string(LevelInfo), string(LevelWarn), string(LevelError)}
}
