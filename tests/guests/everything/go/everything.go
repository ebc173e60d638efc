// Command everything says all that a rule can say, by the port of the knock; tests/all/everything.rs has the same in Rust.
package main

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"postern"
)

type everything struct{}

func (everything) Configure(settings postern.Settings) (postern.Interest, error) {
	if len(settings) > 2 {
		return postern.Interest{}, errors.New(string(settings))
	}
	return postern.Interest{
		Watches: []postern.Watch{
			{Transport: postern.UDP, FirstPort: 1, LastPort: 9},
			{
				Transport: postern.TCP, FirstPort: 1, LastPort: 9,
				FlagsSet: postern.SYN, FlagsClear: postern.RST | postern.CWR,
			},
			{Transport: postern.ICMPv6, FirstPort: 1, LastPort: 9},
		},
		Destination:  postern.Within,
		Within:       []netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("192.0.2.0/24")},
		PayloadLimit: 1500,
		TCPHeader:    true,
		MemoryFormat: 7,
	}, nil
}

func (everything) Judge(knock *postern.Knock, memory []byte) postern.Verdict {
	payload := slices.Clone(knock.Payload)
	later := knock.Time.Add(5 * time.Second)
	switch knock.DestinationPort {
	case 1:
		until := knock.Time.Add(time.Duration(knock.HopLimit) * time.Second)
		return postern.Remember(postern.Progress{Stage: uint32(knock.SourcePort), Memory: payload, Until: until})
	case 2:
		if memory == nil {
			return postern.Forget("none")
		}
		return postern.Forget(string(memory))
	case 3:
		return postern.Open(
			postern.OpenRequest{
				Once: &postern.Once{Token: payload, Until: knock.Time.Add(time.Second)},
				Door: "a", Seconds: 30, PrefixLength: 24,
			},
			postern.OpenRequest{Once: &postern.Once{Counter: []byte("k"), Value: uint64(knock.Time)}, Door: "b"},
		).AndRemember(postern.Progress{Memory: []byte("x"), Until: later})
	case 4:
		return postern.Open(postern.OpenRequest{Once: &postern.Once{Token: payload}})
	case 5:
		return postern.Close(postern.CloseRequest{}, postern.CloseRequest{Door: "b", PrefixLength: 64})
	case 6:
		var options []byte
		if knock.TCPHeader != nil {
			options = slices.Clone(knock.TCPHeader.Options)
		}
		return postern.Close().AndRemember(postern.Progress{Stage: 3, Memory: options, Until: later})
	case 7:
		var words []string
		add := func(numbers ...uint32) {
			for _, number := range numbers {
				words = append(words, strconv.FormatUint(uint64(number), 10))
			}
		}
		if header := knock.TCPHeader; header != nil {
			add(header.Sequence, header.Acknowledgment, uint32(header.Window), uint32(header.UrgentPointer))
		}
		add(
			knock.PacketLength, knock.InterfaceIndex, knock.SourceZone, uint32(knock.SourcePort),
			uint32(knock.TCPFlags), uint32(knock.Transport), uint32(knock.HopLimit),
		)
		return postern.Forget(strings.Join(words, " "))
	case 8:
		source, destination := knock.Source.AsSlice(), knock.Destination.AsSlice()
		return postern.Forget(hex.EncodeToString(source) + " " + hex.EncodeToString(destination))
	default:
		return postern.Ignore()
	}
}

func init() { postern.Export(everything{}) }

func main() {}
