package server

import (
	"bufio"
	"math"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
)

// What a device may have at most, whatever the hub has left.
const (
	connectionsMax = 8192
	dialingMax     = 512
	dialsPerSecond = 200
	mappingsMax    = 4096
	bufferedMax    = 64 << 20 // octets each way
)

// What a device may have at least, however little the hub has left.
const (
	shareMin    = 16 // of a budget
	bufferedMin = 1 << 20
)

// filesKept are for what is not a device's: the store, the hub's sockets, questions to upstreams.
const filesKept = 64 + questionsMax

// A budget is how many of a kind the devices may have together, such as open files, of which one never
// takes more than half of what the others leave.
type budget struct {
	mu    sync.Mutex
	total int
	used  int
}

// A share is what one device has of a budget.
type share struct {
	budget *budget
	mine   int // guarded by the budget's mutex
}

// take takes one, if the device may have one more.
func (s *share) take() bool {
	b := s.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	others := b.used - s.mine
	if s.mine >= max((b.total-others)/2, shareMin) || b.used >= b.total {
		return false
	}
	b.used++
	s.mine++
	return true
}

// give gives one back.
func (s *share) give() {
	s.budget.mu.Lock()
	defer s.budget.mu.Unlock()
	s.budget.used--
	s.mine--
}

// newBudgets divides the files that this process may open: three quarters are for connections, the rest
// for datagrams.
func newBudgets(files int) (connections, datagrams *budget) {
	files = max(files-filesKept, 4*shareMin)
	return &budget{total: files - files/4}, &budget{total: files / 4}
}

const unknownFiles = 1024 // what systems that do not tell allow at least

// openFiles reads how many files a process may have open. Go's runtime has raised that to what the system
// permits.
func openFiles(limits string) int {
	f, err := os.Open(limits)
	if err != nil {
		return unknownFiles
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		rest, found := strings.CutPrefix(lines.Text(), "Max open files")
		if !found {
			continue
		}
		soft, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if soft == "unlimited" {
			return 1 << 20
		}
		if n, err := strconv.Atoi(soft); err == nil {
			return n
		}
	}
	return unknownFiles
}

const unknownMemory = 1 << 30 // octets, where the system does not tell

// memoryLimit returns how many octets this process may use: those of the machine, or of its control
// group if that has fewer.
func memoryLimit(meminfo, group string) int {
	limit := math.MaxInt
	if text, err := os.ReadFile(meminfo); err == nil {
		if _, rest, found := strings.Cut(string(text), "MemTotal:"); found {
			if n, err := strconv.Atoi(strings.Fields(rest + " 0")[0]); err == nil && n > 0 {
				limit = n << 10
			}
		}
	}
	if text, err := os.ReadFile(group); err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 {
			limit = min(limit, n)
		}
	}
	if limit == math.MaxInt {
		return unknownMemory
	}
	return limit
}

// bufferedShare returns how many octets each way a device that comes now may have buffered: half of
// what memory is left, both ways together.
func bufferedShare(limit int) int {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	left := limit - int(sample[0].Value.Uint64())
	return min(max(left/4, bufferedMin), bufferedMax)
}
