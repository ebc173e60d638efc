// Command knock is a rule: 7000/udp, and within five seconds a SYN at 7001/tcp opens the first door.
package main

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"time"

	"postern"
)

var (
	firstKnock  = postern.Watch{Transport: postern.UDP, FirstPort: 7000, LastPort: 7000}
	secondKnock = postern.Watch{
		Transport: postern.TCP, FirstPort: 7001, LastPort: 7001, FlagsSet: postern.SYN, FlagsClear: postern.ACK,
	}
)

// knock is the rule.
type knock struct {
	// within is how long a client has between the two knocks.
	within time.Duration
}

func (k *knock) Configure(settings postern.Settings) (postern.Interest, error) {
	k.within = 5 * time.Second
	for name, value := range settings.All() {
		if name != "within" {
			return postern.Interest{}, errors.New(name + ": unknown; the only setting is within")
		}
		seconds, isRight := readSeconds(value)
		if !isRight {
			return postern.Interest{}, errors.New(`within: use "1s" to "3600s"`)
		}
		k.within = time.Duration(seconds) * time.Second
	}
	return postern.Interest{Watches: []postern.Watch{firstKnock, secondKnock}, MemoryFormat: 1}, nil
}

// readSeconds reads "1s" to "3600s", with the quotes.
func readSeconds(value string) (int, bool) {
	text, _ := strconv.Unquote(value)
	digits, hasUnit := strings.CutSuffix(text, "s")
	seconds, err := strconv.Atoi(digits)
	return seconds, hasUnit && err == nil && 1 <= seconds && seconds <= 3600
}

func (k *knock) Judge(knock *postern.Knock, memory []byte) postern.Verdict {
	switch {
	case firstKnock.Matches(knock):
		return postern.Remember(postern.Progress{
			Stage:  1,
			Memory: binary.LittleEndian.AppendUint64(nil, uint64(knock.Time)),
			Until:  knock.Time.Add(k.within),
		})
	case secondKnock.Matches(knock) && len(memory) == 8:
		first := postern.Time(binary.LittleEndian.Uint64(memory))
		waited := knock.Time.Since(first).Milliseconds()
		postern.Log(postern.Info, "second knock after "+strconv.FormatInt(waited, 10)+" ms")
		return postern.Open()
	default:
		return postern.Ignore()
	}
}

func init() { postern.Export(&knock{}) }

func main() {}
