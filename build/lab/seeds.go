package lab

import (
	"context"
	"slices"
	"time"
)

// seedTime is what one may take.
const seedTime = 40 * time.Second

// seeds are what the working group asked for, for which hosts are made that nobody else uses: each in the file of its name, in
// the order of the items, with whose numbers the names of the rows begin.
func seeds() []seed {
	return slices.Concat(
		establishment(), lessons(), // 1
		inactivity(),    // 2
		rateLimits(),    // 3
		pathSelection(), // 4
		privacy(),       // 5
		fastOpen(),      // 6
		continuity(),    // 7
		socketAPI(),     // 8
		latency(),       // 9
		prices(),        // 10
		implicits(),     // 11
		attacks(),       // 12
	)
}

// runSeeds shows a row or more of each thing that the working group asked for: first those of hosts of their own, then what
// people meet.
func runSeeds(ctx context.Context, t *table, only string) error {
	if err := trySeeds(ctx, t, only, seeds(), seedTime); err != nil {
		return err
	}
	return runStages(ctx, t, only, append([]stage{atHome("", commands()), secrecy()}, foreignProxies()...)...)
}
