package lab

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// objections is a display filter for what no packet should be.
const objections = `_ws.malformed || (mptcp && _ws.expert.severity == "Error") || mptcp.connection.echoed_key_mismatch ||
	mptcp.connection.missing_algorithm || mptcp.connection.unsupported_algorithm`

// inspect has tshark dissect a capture and says what it finds malformed in it. fast: there are octets in SYNs, after
// which it looks for mappings in the wrong place (RFC 8684 B.2).
func inspect(ctx context.Context, capture string, fast bool) error {
	lines, err := shark(ctx, capture, !fast, objections, "frame.number", "_ws.expert.message")
	if err != nil {
		return err
	}
	if len(lines) > 0 {
		return fmt.Errorf("tshark objects to %d packets, first %s", len(lines), strings.Join(strings.Fields(lines[0]), " "))
	}
	return nil
}

// packets counts the packets of a capture that match a display filter.
func packets(ctx context.Context, capture, filter string) (int, error) {
	lines, err := shark(ctx, capture, true, filter, "frame.number")
	return len(lines), err
}

func shark(ctx context.Context, capture string, mappings bool, filter string, fields ...string) ([]string, error) {
	// Random payload must not be taken for some application's protocol.
	args := []string{"-n", "-r", capture,
		"-d", fmt.Sprintf("tcp.port==%d,data", port), "-d", fmt.Sprintf("tcp.port==%d,data", announcedPort),
		"-o", "mptcp.analyze_mptcp:TRUE", "-o", fmt.Sprintf("mptcp.analyze_mappings:%t", mappings),
		"-Y", filter, "-T", "fields"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.CommandContext(ctx, "tshark", args...).Output()
	if err != nil {
		return nil, fmt.Errorf("tshark: %w", err)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n"), nil
}
