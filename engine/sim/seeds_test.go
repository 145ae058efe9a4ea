package sim

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	seeds = flag.Int("seeds", seedsDefault, "how many seeds to run, each twice")
	seed  = flag.Uint64("seed", 0, "the one seed to replay, with its story")
	first = flag.Uint64("first", 1, "the first of the seeds")
)

// TestSeeds plays the scenario of each seed twice: both runs must hold, and be the same packet by
// packet. Seeds that failed once stand in testdata/seeds and are played before all others.
func TestSeeds(t *testing.T) {
	if *seed != 0 {
		tellSeed(t, *seed, playSeed(t, *seed))
		return
	}
	var all []uint64
	all = append(all, some(8, failedOnce(t))...)
	for i := range uint64(*seeds) {
		all = append(all, *first+i)
	}
	sums := make([]uint64, len(all))
	t.Run("seed", func(t *testing.T) {
		for i, n := range all {
			t.Run(fmt.Sprint(n), func(t *testing.T) {
				t.Parallel()
				sums[i] = playTwice(t, n)
			})
		}
	})
	total := uint64(0)
	for _, sum := range sums {
		total = mix(total ^ sum)
	}
	fmt.Printf("sim: %d seeds, trace %016x\n", len(all), total)
}

func failedOnce(t *testing.T) (all []uint64) {
	f, err := os.Open("testdata/seeds")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var n uint64
		var why string
		if _, err := fmt.Sscan(lines.Text(), &n, &why); err == nil {
			all = append(all, n)
		} else if strings.TrimSpace(lines.Text()) != "" {
			t.Errorf("testdata/seeds: %q: %v", lines.Text(), err)
		}
	}
	return all
}

func playTwice(t *testing.T, n uint64) (sum uint64) {
	one := NewStage(Draw(n))
	if err := play(one); err != nil {
		tellSeed(t, n, err)
		return 0
	}
	two := NewStage(Draw(n))
	if err := play(two); err != nil || one.Trace.Sum() != two.Trace.Sum() {
		t.Errorf("seed %d: the second run differs: %d packets, %016x; then %d packets, %016x, %v",
			n, one.Trace.Packets, one.Trace.Sum(), two.Trace.Packets, two.Trace.Sum(), err)
	}
	return one.Trace.Sum()
}

func playSeed(t *testing.T, n uint64) error {
	s := NewStage(Draw(n))
	err := play(s)
	t.Logf("%d packets until %v, trace %016x", s.Trace.Packets, s.Now(), s.Trace.Sum())
	return err
}

// play is Play that makes errors of panics, so that they too come with a seed and a story.
func play(s *Stage) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("at %v: panic: %v\n%s", s.Now(), p, stack())
		}
	}()
	return s.Play()
}

// tellSeed replays a seed and writes down what happened.
func tellSeed(t *testing.T, n uint64, err error) {
	t.Helper()
	s := NewStage(Draw(n))
	where := tell(t, fmt.Sprintf("seed-%d", n), s)
	if again := play(s); err != nil {
		if again == nil {
			err = fmt.Errorf("%w\nand a replay holds", err)
		}
		t.Errorf("seed %d: %v\nreplay: go test ./engine/sim -seed %d\nstory: %s.txt\npackets: %s.pcap", n, err, n, where, where)
	}
	t.Logf("story: %s.txt", where)
}

// tell has a run leave a story and a capture, in the artefact directory or one that outlives the test.
func tell(t *testing.T, name string, s *Stage) (where string) {
	t.Helper()
	dir := t.ArtifactDir()
	if f := flag.Lookup("test.artifacts"); f == nil || f.Value.String() != "true" {
		kept, err := os.MkdirTemp("", "tandem-sim-")
		if err != nil {
			t.Fatal(err)
		}
		dir = kept
	}
	where = filepath.Join(dir, name)
	story, err1 := os.Create(where + ".txt")
	capture, err2 := os.Create(where + ".pcap")
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	buffered := bufio.NewWriterSize(story, 1<<20)
	t.Cleanup(func() {
		buffered.Flush()
		story.Close()
		capture.Close()
	})
	if err := s.Tell(buffered, capture); err != nil {
		t.Fatal(err)
	}
	return where
}
