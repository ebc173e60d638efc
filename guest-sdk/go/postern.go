// Package postern is for writing Postern rules in Go: the words of the contract postern:rule@0.2.0.
//
// A rule is a value with two methods, handed to Export from an init function. A rule is a pure function: the same knock and the same
// memory give the same verdict. It has no clock, files, sockets or randomness.
package postern

import (
	"net/netip"
	"time"
)

// Rule is what an author writes.
type Rule interface {
	// Configure is called once, before anything else. An error is shown to the author of the settings; a line that begins as in "within: "
	// is shown at that setting.
	Configure(settings Settings) (Interest, error)

	// Judge says what one knock means. Memory is what the rule last remembered of the packet's source, nil if nothing. What the arguments
	// point to lives until the call returns.
	Judge(knock *Knock, memory []byte) Verdict
}

// Transport is what carries a knock.
type Transport uint8

const (
	TCP Transport = iota
	UDP
	ICMP
	ICMPv6
)

// TCPFlags are the flag bits of a TCP header (RFC 9293, section 3.1).
type TCPFlags uint8

const (
	FIN TCPFlags = 1 << iota
	SYN
	RST
	PSH
	ACK
	URG
	ECE
	CWR
)

// Time is microseconds since 1970-01-01 UTC, by the clock of the capturing machine.
type Time uint64

// Add is so much later.
func (t Time) Add(d time.Duration) Time { return t + Time(d/time.Microsecond) }

// Since is how much later this is than an earlier time; 0 if it is not later.
func (t Time) Since(earlier Time) time.Duration {
	if t <= earlier {
		return 0
	}
	return time.Duration(t-earlier) * time.Microsecond
}

// Watch is packets that a rule asks to see. Ports are those of the destination, both included; for ICMP the message type.
type Watch struct {
	Transport            Transport
	FirstPort, LastPort  uint16
	FlagsSet, FlagsClear TCPFlags
}

// Matches says whether a knock is one that this watch asks for.
func (w Watch) Matches(knock *Knock) bool {
	return knock.Transport == w.Transport &&
		w.FirstPort <= knock.DestinationPort && knock.DestinationPort <= w.LastPort &&
		(w.Transport != TCP || knock.TCPFlags&w.FlagsSet == w.FlagsSet && knock.TCPFlags&w.FlagsClear == 0)
}

// Interest is what a rule asks for when it is loaded.
type Interest struct {
	// Watches are 1 to 1024.
	Watches []Watch
	// Destination is where a packet must be going to be shown.
	Destination Destination
	// Within is for the destination Within: at most 64 prefixes.
	Within []netip.Prefix
	// PayloadLimit is bytes of payload wanted, 0 to 1500.
	PayloadLimit uint32
	// TCPHeader says whether Knock.TCPHeader is wanted.
	TCPHeader bool
	// MemoryFormat is a number for what the remembered bytes mean: with another one the host drops what it kept.
	MemoryFormat uint32
}

// Destination is where a packet must be going.
type Destination uint8

const (
	ThisHost Destination = iota
	Anywhere
	Within
)

// Knock is one packet.
type Knock struct {
	// Time is when it was captured; a packet may carry an earlier time than the one before it.
	Time   Time
	Source netip.Addr
	// SourceZone is, of a link-local source, the index of the interface on whose link it is; else 0.
	SourceZone uint32
	// SourcePort is the code of an ICMP message.
	SourcePort  uint16
	Destination netip.Addr
	// DestinationPort is the type of an ICMP message.
	DestinationPort uint16
	Transport       Transport
	TCPFlags        TCPFlags
	HopLimit        uint8
	// PacketLength is that of the IP packet, headers included.
	PacketLength uint32
	// InterfaceIndex is that of the interface that captured it; 0 if not known.
	InterfaceIndex uint32
	// TCPHeader is nil unless the interest asked for it and the transport is TCP.
	TCPHeader *TCPHeader
	Payload   []byte
}

// TCPHeader is what a TCP header says beyond ports and flags.
type TCPHeader struct {
	Sequence, Acknowledgment uint32
	Window, UrgentPointer    uint16
	Options                  []byte
}

// Progress is what the host keeps of a client until its next knock.
type Progress struct {
	// Stage is how far the client has come; 0: not half way, but something else is to be remembered.
	Stage uint32
	// Memory is handed back with the client's next knock; at most 1024 bytes.
	Memory []byte
	// Until is when to drop it.
	Until Time
}

// Verdict is what a rule says of one knock. The zero value is to ignore it: what is remembered stays.
type Verdict struct {
	kind     uint8
	progress *Progress
	reason   string
	opens    []OpenRequest
	closes   []CloseRequest
}

const (
	ignore uint8 = iota
	remember
	forget
	open
	close_
)

// Ignore changes nothing: what is remembered of the client stays.
func Ignore() Verdict { return Verdict{} }

// Remember has the host keep this of the client instead of what was.
func Remember(progress Progress) Verdict { return Verdict{kind: remember, progress: &progress} }

// Forget has the client start over, for this reason of at most 200 bytes.
func Forget(reason string) Verdict { return Verdict{kind: forget, reason: reason} }

// Open opens doors, 1 to 8; without any, the first one of the rule's file.
func Open(doors ...OpenRequest) Verdict {
	if len(doors) == 0 {
		doors = theFirstToOpen
	}
	return Verdict{kind: open, opens: doors}
}

// Close closes doors, 1 to 8; without any, the first one of the rule's file.
func Close(doors ...CloseRequest) Verdict {
	if len(doors) == 0 {
		doors = theFirstToClose
	}
	return Verdict{kind: close_, closes: doors}
}

// AndRemember has the host keep this of the client after Open or Close; its stage should be 0.
func (v Verdict) AndRemember(progress Progress) Verdict {
	v.progress = &progress
	return v
}

// Opens says whether this verdict opens doors; for tests.
func (v Verdict) Opens() bool { return v.kind == open }

// Closes says whether this verdict closes doors; for tests.
func (v Verdict) Closes() bool { return v.kind == close_ }

// Forgets says whether this verdict has the client start over, and why; for tests.
func (v Verdict) Forgets() (reason string, isSo bool) { return v.reason, v.kind == forget }

// Remembers says what this verdict has the host keep; for tests.
func (v Verdict) Remembers() (progress Progress, isSo bool) {
	if v.progress == nil {
		return Progress{}, false
	}
	return *v.progress, true
}

var (
	theFirstToOpen  = make([]OpenRequest, 1)
	theFirstToClose = make([]CloseRequest, 1)
)

// OpenRequest is a wish to open a door. The zero value is the rule's first door, for the source of the knock, as long as the file says.
type OpenRequest struct {
	// Once makes the opening happen at most once; nil: as often as the rule says so.
	Once *Once
	// Door is a name that the rule's file gives; empty: the first one there.
	Door string
	// Seconds is for how long; 0: what the rule's file or the door says.
	Seconds uint32
	// PrefixLength opens for all addresses that share so many first bits with the source; 0: the source alone.
	PrefixLength uint8
}

// CloseRequest is a wish to close a door before its time.
type CloseRequest struct {
	// Door is as in OpenRequest.
	Door string
	// PrefixLength is as in OpenRequest.
	PrefixLength uint8
}

// Once is a token or a counter.
type Once struct {
	// Token is 1 to 64 bytes that this rule never used before.
	Token []byte
	// Until is the last moment at which the rule could accept the token; 0: the host never forgets it.
	Until Time
	// Counter names a counter, in 1 to 64 bytes, if there is no token.
	Counter []byte
	// Value must be above every value used before with this counter; at most 2^53 - 1.
	Value uint64
}

// Level is how much a log line matters.
type Level uint32

const (
	Error Level = iota
	Warn
	Info
	Debug
)
