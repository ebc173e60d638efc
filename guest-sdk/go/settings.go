package postern

import (
	"iter"
	"strings"
)

// Settings is a JSON object: what the rule's file says under [settings], {} if nothing. The package encoding/json reads all of it, for
// 2 MB more of module; All does for settings that are numbers and texts.
type Settings string

// All gives each setting's name, and its value as JSON writes it: a text with its quotes, which strconv.Unquote takes off.
func (s Settings) All() iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		rest := string(s)
		for {
			// What stands before a name: the brace, or a comma.
			begin := strings.IndexByte(rest, '"')
			if begin < 0 {
				return
			}
			name := jsonValue(rest[begin:])
			value := jsonValue(rest[begin+len(name)+1:])
			if !yield(name[1:len(name)-1], value) {
				return
			}
			rest = rest[begin+len(name)+1+len(value):]
		}
	}
}

// jsonValue is the JSON value at the beginning of a text. The host writes no blanks, and is always right.
func jsonValue(json string) string {
	depth, isText := 0, false
	for i := 0; i < len(json); i++ {
		switch c := json[i]; {
		case isText && c == '\\':
			i++
		case c == '"':
			isText = !isText
		case isText:
		case c == '[' || c == '{':
			depth++
		case depth > 0 && (c == ']' || c == '}'):
			depth--
		case depth == 0 && strings.IndexByte(",:]}", c) >= 0:
			return json[:i]
		}
	}
	return json
}
