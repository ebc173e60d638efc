package postern

import (
	"fmt"
	"maps"
	"testing"
)

func TestSettings(t *testing.T) {
	for settings, expected := range map[string]string{
		`{}`:                                  `map[]`,
		`{"a":1,"b":"x"}`:                     `map[a:1 b:"x"]`,
		`{"a":[{"b":"}],\""},2],"c":true}`:    `map[a:[{"b":"}],\""},2] c:true]`,
		`{"a":{"b":{}},"c":"\\","d":{"e":3}}`: `map[a:{"b":{}} c:"\\" d:{"e":3}]`,
	} {
		if found := fmt.Sprint(maps.Collect(Settings(settings).All())); found != expected {
			t.Errorf("%s: %s", settings, found)
		}
	}
}
