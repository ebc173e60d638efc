// Command networks is a rule: a sequence of ports opens the first door, but only for clients of certain networks.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"postern"
)

const (
	mostSteps = 16
	within    = 10 * time.Second
)

// networks is the rule.
type networks struct {
	// allow are the networks whose clients may knock; none: all.
	allow []netip.Prefix
	// deny are those whose clients may not, also within a network that may.
	deny []netip.Prefix
	// steps are to be hit in order.
	steps []postern.Watch
}

func (n *networks) Configure(settings postern.Settings) (postern.Interest, error) {
	var mistakes []error
	for name, value := range settings.All() {
		items, isList := texts(value)
		var mistake error
		switch {
		case name != "allow" && name != "deny" && name != "sequence":
			mistake = errors.New("unknown; the settings are allow, deny and sequence")
		case !isList:
			mistake = errors.New("write a list of texts")
		case name == "allow" && len(items) == 0:
			mistake = errors.New("has no network, so nobody could knock; leave it out if all may")
		case name == "allow":
			n.allow, mistake = prefixes(items)
		case name == "deny":
			n.deny, mistake = prefixes(items)
		default:
			n.steps, mistake = steps(items)
		}
		if mistake != nil {
			mistakes = append(mistakes, fmt.Errorf("%s: %w", name, mistake))
		}
	}
	if len(mistakes) == 0 && n.steps == nil {
		mistakes = append(mistakes, errors.New(`sequence is missing; write one such as ["7000/udp", "7001/tcp"]`))
	}
	return postern.Interest{Watches: n.steps, MemoryFormat: 1}, errors.Join(mistakes...)
}

// texts reads a list of texts without commas, as JSON writes it.
func texts(json string) ([]string, bool) {
	inner, isList := strings.CutPrefix(json, "[")
	inner, isClosed := strings.CutSuffix(inner, "]")
	if !isList || !isClosed {
		return nil, false
	}
	var items []string
	for item := range strings.SplitSeq(inner, ",") {
		if inner == "" {
			break
		}
		text, err := strconv.Unquote(item)
		if err != nil {
			return nil, false
		}
		items = append(items, text)
	}
	return items, true
}

// prefixes reads addresses and networks.
func prefixes(items []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, item := range items {
		prefix, err := netip.ParsePrefix(item)
		if address, isAddress := netip.ParseAddr(item); isAddress == nil && address.Zone() == "" {
			prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		// A packet of IPv4 has an address of IPv4, and no such network would hold it.
		if err != nil || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
			return nil, fmt.Errorf(`%q is no network; write one such as "192.0.2.0/24", "2001:db8::/32" or "192.0.2.7"`, item)
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

// steps reads ports.
func steps(items []string) ([]postern.Watch, error) {
	if len(items) == 0 || len(items) > mostSteps {
		return nil, fmt.Errorf("has %d steps; write 1 to %d", len(items), mostSteps)
	}
	var steps []postern.Watch
	for _, item := range items {
		digits, transport, _ := strings.Cut(item, "/")
		port, err := strconv.ParseUint(digits, 10, 16)
		step := postern.Watch{FirstPort: uint16(port), LastPort: uint16(port)}
		switch transport {
		case "udp":
			step.Transport = postern.UDP
		case "tcp":
			step.Transport, step.FlagsSet, step.FlagsClear = postern.TCP, postern.SYN, postern.ACK
		default:
			err = errors.ErrUnsupported
		}
		if err != nil || port == 0 {
			return nil, fmt.Errorf(`%q is no step; write "PORT/udp" or "PORT/tcp"`, item)
		}
		steps = append(steps, step)
	}
	return steps, nil
}

func (n *networks) Judge(knock *postern.Knock, memory []byte) postern.Verdict {
	if !n.mayKnock(knock.Source) {
		return postern.Forget("knocks from a network that may not")
	}
	done, begin := 0, knock.Time
	if len(memory) == 9 {
		// A clock that was set back makes nothing last longer.
		begin = min(begin, postern.Time(binary.LittleEndian.Uint64(memory[1:])))
		if knock.Time.Since(begin) < within {
			done = int(memory[0])
		}
	}
	if done >= len(n.steps) || !n.steps[done].Matches(knock) {
		if done == 0 {
			return postern.Ignore()
		}
		return postern.Forget("another port than that of step " + strconv.Itoa(done+1))
	}
	if done++; done == len(n.steps) {
		return postern.Open()
	}
	if done == 1 {
		begin = knock.Time
	}
	return postern.Remember(postern.Progress{
		Stage:  uint32(done),
		Memory: binary.LittleEndian.AppendUint64([]byte{byte(done)}, uint64(begin)),
		Until:  begin.Add(within),
	})
}

func (n *networks) mayKnock(source netip.Addr) bool {
	// A link-local address is in its network whatever its zone.
	source = source.WithZone("")
	return !has(n.deny, source) && (len(n.allow) == 0 || has(n.allow, source))
}

func has(prefixes []netip.Prefix, address netip.Addr) bool {
	for _, prefix := range prefixes {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}

func init() { postern.Export(&networks{}) }

func main() {}
