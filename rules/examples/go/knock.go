// The rule of rules/examples/c in Go: 1111/udp, 2222/udp, 3333/tcp with SYN and without ACK, within five seconds.
//
// Build: GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o rule.wasm rule.go
//
// The structures are the records of postern:rule@0.2.0 as the component model's canonical ABI lays them out; a pointer is 32 bits.
package main

import (
	"encoding/binary"
	"unsafe"
)

const (
	tcp, udp = 0, 1
	syn, ack = 0x02, 0x10
	within   = 5_000_000
)

// list is a list or a text: where it begins, and how many elements it has.
type list struct{ place, length uint32 }

type address struct {
	family uint8
	parts  [4]uint32
}

type watch struct {
	transport            uint8
	firstPort, lastPort  uint16
	flagsSet, flagsClear uint8
}

type tcpHeader struct {
	sequence, acknowledgment uint32
	window, urgentPointer    uint16
	options                  list
}

type call struct {
	time            uint64
	source          address
	sourceZone      uint32
	sourcePort      uint16
	destination     address
	destinationPort uint16
	transport       uint8
	tcpFlags        uint8
	hopLimit        uint8
	packetLength    uint32
	interfaceIndex  uint32
	hasTCPHeader    uint8
	tcpHeader       tcpHeader
	payload         list
	hasMemory       uint8
	memory          list
}

// interest is result<interest, string>.
type interest struct {
	isError      uint8
	watches      list // or the error
	destination  uint8
	prefixes     list
	payloadLimit uint32
	tcpHeader    uint8
	memoryFormat uint32
}

const (
	ignore, remember, forget, open = 0, 1, 2, 3
)

type verdict struct {
	kind uint8
	_    [7]uint8
	// remember: stage and memory; forget: the reason; open: the requests, and that nothing is remembered from then on.
	body  [3]uint32
	_     uint32
	until uint64
	_     [16]byte
}

var sequence = [3]watch{
	{udp, 1111, 1111, 0, 0},
	{udp, 2222, 2222, 0, 0},
	{tcp, 3333, 3333, syn, ack},
}

// What an answer points to must outlive the call, and the collector must not see it move: it is static.
var (
	asked   interest
	said    verdict
	kept    [12]byte // when the first step came, and right steps so far
	theDoor [64]byte // a request of all zeros: the rule's first door
	reason  = "wrong step"
	refusal = "this rule has no settings"
	arena   [65536]byte
	used    uint32
)

func place[T any](value *T) uint32 { return uint32(uintptr(unsafe.Pointer(value))) }

func text(value string) list {
	return list{uint32(uintptr(unsafe.Pointer(unsafe.StringData(value)))), uint32(len(value))}
}

// bytes is what a list of the host's points to, for as long as the call lasts.
func bytes(value list) []byte {
	return arena[value.place-place(&arena):][:value.length]
}

//go:wasmimport postern:rule/host@0.2.0 log
func log(level uint32, place uint32, length uint32)

// realloc hands out a static arena, which is empty again after each call.
//
//go:wasmexport cabi_realloc
func realloc(_, _, align, size uint32) uint32 {
	begin := (place(&arena) + used + align - 1) &^ (align - 1)
	used = begin + size - place(&arena)
	if used > uint32(len(arena)) {
		panic("no room for the arguments")
	}
	return begin
}

//go:wasmexport configure
func configure(settings, length uint32) uint32 {
	defer func() { used = 0 }()
	if string(bytes(list{settings, length})) != "{}" {
		asked = interest{isError: 1, watches: text(refusal)}
		return place(&asked)
	}
	const debug = 3
	line := text("configured")
	log(debug, line.place, line.length)
	asked = interest{watches: list{place(&sequence), uint32(len(sequence))}, memoryFormat: 1}
	return place(&asked)
}

//go:wasmexport judge
func judge(arguments uint32) uint32 {
	defer func() { used = 0 }()
	said = verdict{}
	knock := (*call)(unsafe.Pointer(&arena[arguments-place(&arena)]))
	if knock.transport == tcp && knock.tcpFlags&(syn|ack) != syn {
		return place(&said)
	}
	start, stage := recall(knock)
	step := sequence[stage]
	if knock.transport != step.transport || knock.destinationPort != step.firstPort {
		if stage > 0 {
			said.kind = forget
			said.body = [3]uint32{text(reason).place, text(reason).length}
		}
		return place(&said)
	}
	stage++
	if int(stage) == len(sequence) {
		said.kind = open
		said.body = [3]uint32{place(&theDoor), 1}
		return place(&said)
	}
	binary.LittleEndian.PutUint64(kept[:], start)
	binary.LittleEndian.PutUint32(kept[8:], stage)
	said.kind = remember
	said.body = [3]uint32{stage, place(&kept), uint32(len(kept))}
	said.until = start + within
	return place(&said)
}

// recall says when the sequence began, and right steps so far; a new one if nothing is remembered or it took too long.
func recall(knock *call) (uint64, uint32) {
	if knock.hasMemory == 0 {
		return knock.time, 0
	}
	memory := bytes(knock.memory)
	start := binary.LittleEndian.Uint64(memory)
	// After a clock was set back the time starts now.
	start = min(start, knock.time)
	if knock.time-start >= within {
		return knock.time, 0
	}
	return start, binary.LittleEndian.Uint32(memory[8:])
}

func main() {}
