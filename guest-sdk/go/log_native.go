//go:build !wasip1

package postern

import (
	"fmt"
	"os"
)

// Export makes a rule the one that this module exports; natively it does nothing.
func Export(Rule) {}

// Log writes a line to the daemon's log; natively to stderr.
func Log(level Level, text string) {
	fmt.Fprintf(os.Stderr, "%s: %s\n", [...]string{"error", "warn", "info", "debug"}[level], text)
}
