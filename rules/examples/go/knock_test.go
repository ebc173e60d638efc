package main

import (
	"fmt"
	"testing"

	"postern"
)

func TestSettings(t *testing.T) {
	for settings, expected := range map[string]string{
		`{}`:                `<nil>`,
		`{"within":"2s"}`:   `<nil>`,
		`{"within":5}`:      `within: use "1s" to "3600s"`,
		`{"within":"0s"}`:   `within: use "1s" to "3600s"`,
		`{"within":"soon"}`: `within: use "1s" to "3600s"`,
		`{"withn":"2s"}`:    `withn: unknown; the only setting is within`,
	} {
		_, err := new(knock).Configure(postern.Settings(settings))
		if said := fmt.Sprint(err); said != expected {
			t.Errorf("%s: %s", settings, said)
		}
	}
}

func TestTwoKnocksOpen(t *testing.T) {
	var rule knock
	if _, err := rule.Configure(`{"within":"2s"}`); err != nil {
		t.Fatal(err)
	}
	first := postern.Knock{Time: 1_000_000, Transport: postern.UDP, DestinationPort: 7000}
	second := postern.Knock{Time: 1_400_000, Transport: postern.TCP, DestinationPort: 7001, TCPFlags: postern.SYN}

	progress, isRemembered := rule.Judge(&first, nil).Remembers()
	if !isRemembered || progress.Stage != 1 || progress.Until != 3_000_000 {
		t.Errorf("%+v", progress)
	}
	if !rule.Judge(&second, progress.Memory).Opens() {
		t.Error("the second knock opens nothing")
	}
	if rule.Judge(&second, nil).Opens() {
		t.Error("the second knock alone opens")
	}
	second.TCPFlags |= postern.ACK
	if rule.Judge(&second, progress.Memory).Opens() {
		t.Error("a SYN-ACK opens")
	}
}
