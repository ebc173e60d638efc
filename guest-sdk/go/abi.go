//go:build wasip1

package postern

import (
	"encoding/binary"
	"net/netip"
	"unsafe"
)

// The structures below are the records of the contract as the component model's canonical ABI lays them out, where a pointer has 32 bits.
// tests/all/layouts.rs holds them against the contract. Go's collector sees none of these pointers, so what they point to is kept in
// variables beside them.

// abiList is a list or a text: where it begins, and how many elements it has.
type abiList struct{ place, length uint32 }

type abiAddress struct {
	family uint8
	parts  [4]uint32
}

type abiPrefix struct {
	address abiAddress
	length  uint8
}

type abiWatch struct {
	transport  uint8
	firstPort  uint16
	lastPort   uint16
	flagsSet   uint8
	flagsClear uint8
}

type abiTCPHeader struct {
	sequence       uint32
	acknowledgment uint32
	window         uint16
	urgentPointer  uint16
	options        abiList
}

type abiKnock struct {
	time            uint64
	source          abiAddress
	sourceZone      uint32
	sourcePort      uint16
	destination     abiAddress
	destinationPort uint16
	transport       uint8
	tcpFlags        uint8
	hopLimit        uint8
	packetLength    uint32
	interfaceIndex  uint32
	hasTCPHeader    bool
	tcpHeader       abiTCPHeader
	payload         abiList
}

// abiCall is what the host passes to judge.
type abiCall struct {
	knock     abiKnock
	hasMemory bool
	memory    abiList
}

type abiInterest struct {
	watches      abiList
	destination  uint8
	within       abiList
	payloadLimit uint32
	tcpHeader    bool
	memoryFormat uint32
}

type abiProgress struct {
	stage  uint32
	memory abiList
	until  uint64
}

type abiOpenRequest struct {
	hasOnce         bool
	once            abiOnce
	hasDoor         bool
	door            abiList
	hasSeconds      bool
	seconds         uint32
	hasPrefixLength bool
	prefixLength    uint8
}

type abiCloseRequest struct {
	hasDoor         bool
	door            abiList
	hasPrefixLength bool
	prefixLength    uint8
}

// abiOnce has the fields of a token; a counter's value lies where hasUntil does.
type abiOnce struct {
	isCounter bool
	_         [7]byte // what follows is aligned as the longest of its fields
	bytes     abiList
	hasUntil  bool
	until     uint64
}

// abiDoors is an open-verdict or a close-verdict.
type abiDoors struct {
	requests    abiList
	hasRemember bool
	remember    abiProgress
}

// abiVerdict has room for the longest of its cases.
type abiVerdict struct {
	kind  uint8
	cases abiDoors
}

var theRule Rule

// Export makes a rule the one that this module exports. Call it from an init function.
func Export(rule Rule) { theRule = rule }

//go:wasmimport postern:rule/host@0.2.0 log
func hostLog(level Level, place uint32, length uint32)

// Log writes a line to the daemon's log.
func Log(level Level, text string) {
	list := ofText(text)
	hostLog(level, list.place, list.length)
}

// arena is where the host puts arguments; it is empty again after each call. The longest settings are those of the rule's file.
var (
	arena [1 << 17]byte
	used  uint32
)

//go:wasmexport cabi_realloc
func realloc(_, _, align, size uint32) uint32 {
	base := placeOf(&arena)
	begin := (base + used + align - 1) &^ (align - 1)
	if uint64(begin)+uint64(size) > uint64(base)+uint64(len(arena)) {
		panic("no room for the arguments")
	}
	used = begin + size - base
	return begin
}

// An answer must outlive its call, and so must all that it points to.
var configured struct {
	isError  uint8
	interest abiInterest

	watches  []abiWatch
	prefixes []abiPrefix
	mistake  string
}

//go:wasmexport configure
func configure(settings, length uint32) uint32 {
	answer := &configured
	interest, err := theRule.Configure(Settings(bytesOf(abiList{settings, length})))
	used = 0
	if err != nil {
		answer.isError, answer.mistake = 1, err.Error()
		answer.interest.watches = ofText(answer.mistake) // the error lies where the interest would
		return placeOf(answer)
	}
	for _, watch := range interest.Watches {
		answer.watches = append(answer.watches, abiWatch{
			uint8(watch.Transport), watch.FirstPort, watch.LastPort, uint8(watch.FlagsSet), uint8(watch.FlagsClear),
		})
	}
	for _, prefix := range interest.Within {
		prefix = prefix.Masked()
		answer.prefixes = append(answer.prefixes, abiPrefix{ofAddress(prefix.Addr()), uint8(prefix.Bits())})
	}
	answer.interest = abiInterest{
		watches:      ofSlice(answer.watches),
		destination:  uint8(interest.Destination),
		within:       ofSlice(answer.prefixes),
		payloadLimit: interest.PayloadLimit,
		tcpHeader:    interest.TCPHeader,
		memoryFormat: interest.MemoryFormat,
	}
	return placeOf(answer)
}

var judged struct {
	abi abiVerdict

	verdict Verdict
	opens   [8]abiOpenRequest
	closes  [8]abiCloseRequest
}

// theKnock and theHeader are filled anew for each call, so that a packet allocates nothing.
var (
	theKnock  Knock
	theHeader TCPHeader
)

//go:wasmexport judge
func judge(arguments uint32) uint32 {
	call := (*abiCall)(unsafe.Pointer(&arena[arguments-placeOf(&arena)]))
	var memory []byte
	if call.hasMemory {
		memory = bytesOf(call.memory)
	}
	answer := &judged
	answer.verdict = theRule.Judge(knockOf(&call.knock), memory)
	used = 0
	answer.abi = abiVerdict{kind: answer.verdict.kind}
	cases := &answer.abi.cases
	switch answer.verdict.kind {
	case remember:
		*(*abiProgress)(unsafe.Pointer(cases)) = ofProgress(answer.verdict.progress)
	case forget:
		cases.requests = ofText(answer.verdict.reason)
	case open:
		for i, request := range answer.verdict.opens {
			answer.opens[i] = ofOpenRequest(request)
		}
		cases.requests = abiList{placeOf(&answer.opens), uint32(len(answer.verdict.opens))}
		cases.andRemember(answer.verdict.progress)
	case close_:
		for i, request := range answer.verdict.closes {
			answer.closes[i] = abiCloseRequest{
				hasDoor: request.Door != "", door: ofText(request.Door),
				hasPrefixLength: request.PrefixLength != 0, prefixLength: request.PrefixLength,
			}
		}
		cases.requests = abiList{placeOf(&answer.closes), uint32(len(answer.verdict.closes))}
		cases.andRemember(answer.verdict.progress)
	}
	return placeOf(answer)
}

func (doors *abiDoors) andRemember(progress *Progress) {
	if progress != nil {
		doors.hasRemember, doors.remember = true, ofProgress(progress)
	}
}

func ofProgress(progress *Progress) abiProgress {
	return abiProgress{progress.Stage, ofSlice(progress.Memory), uint64(progress.Until)}
}

func ofOpenRequest(request OpenRequest) abiOpenRequest {
	it := abiOpenRequest{
		hasDoor: request.Door != "", door: ofText(request.Door),
		hasSeconds: request.Seconds != 0, seconds: request.Seconds,
		hasPrefixLength: request.PrefixLength != 0, prefixLength: request.PrefixLength,
	}
	switch once := request.Once; {
	case once == nil:
	case once.Token != nil:
		it.hasOnce = true
		it.once = abiOnce{bytes: ofSlice(once.Token), hasUntil: once.Until != 0, until: uint64(once.Until)}
	default:
		it.hasOnce = true
		it.once = abiOnce{isCounter: true, bytes: ofSlice(once.Counter)}
		*(*uint64)(unsafe.Pointer(&it.once.hasUntil)) = once.Value
	}
	return it
}

func knockOf(knock *abiKnock) *Knock {
	theKnock = Knock{
		Time:            Time(knock.time),
		Source:          addressOf(&knock.source),
		SourceZone:      knock.sourceZone,
		SourcePort:      knock.sourcePort,
		Destination:     addressOf(&knock.destination),
		DestinationPort: knock.destinationPort,
		Transport:       Transport(knock.transport),
		TCPFlags:        TCPFlags(knock.tcpFlags),
		HopLimit:        knock.hopLimit,
		PacketLength:    knock.packetLength,
		InterfaceIndex:  knock.interfaceIndex,
		Payload:         bytesOf(knock.payload),
	}
	if header := &knock.tcpHeader; knock.hasTCPHeader {
		theHeader = TCPHeader{
			header.sequence, header.acknowledgment, header.window, header.urgentPointer, bytesOf(header.options),
		}
		theKnock.TCPHeader = &theHeader
	}
	return &theKnock
}

func addressOf(address *abiAddress) netip.Addr {
	var bytes [16]byte
	for i, part := range address.parts {
		binary.BigEndian.PutUint32(bytes[4*i:], part)
	}
	if address.family == 0 {
		return netip.AddrFrom4([4]byte(bytes[:4]))
	}
	return netip.AddrFrom16(bytes)
}

func ofAddress(address netip.Addr) abiAddress {
	var it abiAddress
	if !address.Is4() {
		it.family = 1
	}
	for i, bytes := 0, address.AsSlice(); i < len(bytes)/4; i++ {
		it.parts[i] = binary.BigEndian.Uint32(bytes[4*i:])
	}
	return it
}

// bytesOf is what a list of the host's points to, for as long as the call lasts.
func bytesOf(list abiList) []byte {
	if list.length == 0 {
		return []byte{}
	}
	return arena[list.place-placeOf(&arena):][:list.length:list.length]
}

func ofText(text string) abiList {
	return abiList{uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text))}
}

func ofSlice[T any](slice []T) abiList {
	return abiList{placeOf(unsafe.SliceData(slice)), uint32(len(slice))}
}

func placeOf[T any](value *T) uint32 { return uint32(uintptr(unsafe.Pointer(value))) }
