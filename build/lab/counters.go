package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// counters are a namespace's, by nstat's names without "MPTcpExt".
type counters map[string]int64

func readCounters(ctx context.Context, s *space) (counters, error) {
	out, err := s.command(ctx, "nstat", "-azsj").Output()
	if err != nil {
		return nil, fmt.Errorf("nstat: %w", err)
	}
	var all struct{ Kernel map[string]int64 }
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&all); err != nil {
		return nil, fmt.Errorf("nstat: %w", err)
	}
	c := counters{}
	for name, n := range all.Kernel {
		c[strings.TrimPrefix(name, "MPTcpExt")] = n
	}
	return c, nil
}

// forbidden are the counters that tell of something wrong unless the case means it to happen.
var forbidden = []string{
	"Blackhole", "DSSCorruptionFallback", "DSSCorruptionReset", "DSSNoMatchTCP", "DSSNotMatching", "DataCsumErr", "DssFallback",
	"FallbackFailed", "InfiniteMapRx", "InfiniteMapTx", "MPCapableDataFallback", "MPCapableFallbackACK",
	"MPCapableFallbackSYNACK", "MPFailRx", "MPFailTx", "MPFallbackTokenInit", "MPFastcloseRx", "MPFastcloseTx",
	"MPJoinAckHMacFailure", "MPJoinNoTokenFound", "MPJoinRejected", "MPJoinSynAckHMacFailure", "MPRstRx", "MPRstTx",
	"MismatchPortAckRx", "MismatchPortSynRx", "NoDSSInWindow", "RmAddrDrop", "AddAddrDrop", "SimultConnectFallback",
	"TcpInCsumErrors", "TcpInErrs",
}

// check says which counters needed are zero and which forbidden ones are not.
func (c counters) check(need, allow []string) error {
	var wrong []string
	for _, name := range need {
		if c[name] == 0 {
			wrong = append(wrong, name+" is 0")
		}
	}
	for _, name := range forbidden {
		if c[name] != 0 && !slices.Contains(allow, name) && !slices.Contains(need, name) {
			wrong = append(wrong, fmt.Sprintf("%s is %d", name, c[name]))
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("counters: %s", strings.Join(wrong, ", "))
	}
	return nil
}

// growth returns by how much a namespace's counters grow while f runs.
func growth(ctx context.Context, s *space, f func() error) (counters, error) {
	before, err := readCounters(ctx, s)
	if err != nil {
		return nil, err
	}
	if err := f(); err != nil {
		return nil, err
	}
	after, err := readCounters(ctx, s)
	if err != nil {
		return nil, err
	}
	for name, n := range before {
		after[name] -= n
	}
	return after, nil
}
