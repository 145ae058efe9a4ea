package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"strconv"
	"strings"
)

// A measure is the result of one benchmark, by unit ("ns/op", "MB/s", "allocs/op" …).
type measure struct {
	Package string             `json:"package"`
	Name    string             `json:"name"`
	Values  map[string]float64 `json:"values"`
}

func bench(ctx context.Context, args []string) int {
	asJSON := len(args) == 1 && args[0] == "--json"
	if len(args) > 0 && !asJSON {
		return misused()
	}
	goArgs := []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "./..."}
	if !asJSON {
		return code(sh(ctx, "go", goArgs...))
	}
	cmd := command(ctx, "go", goArgs...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		os.Stderr.Write(out)
		return code(err)
	}
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	return code(enc.Encode(parseMeasures(out)))
}

// parseMeasures reads what go test -bench prints.
func parseMeasures(out []byte) (measures []measure) {
	pkg := ""
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 2 && fields[0] == "pkg:" {
			pkg = fields[1]
		}
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		m := measure{Package: pkg, Name: strings.TrimPrefix(fields[0], "Benchmark"), Values: map[string]float64{}}
		for i := 2; i+1 < len(fields); i += 2 {
			if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
				m.Values[fields[i+1]] = v
			}
		}
		measures = append(measures, m)
	}
	return measures
}
