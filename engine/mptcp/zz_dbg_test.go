package mptcp

import (
	"math/rand/v2"
	"testing"
)

func TestDbg(t *testing.T) {
	for seed := 300; seed < 12000; seed++ {
		p := make([]byte, 3000)
		rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1}).Read(p)
		t.Log(seed)
		play(t, p)
	}
}

func TestProbeCarriesNoSignal(t *testing.T) {
	s := agreed(t, Config{Passive: true}, 1)
	s.recv("0 . 1 ack 1 <"+addAddr(1, "10.0.0.2", 0)+">", "0 . 1 ack 1 <remove_addr 0>")
	t.Log(s.left())
	s.c.CloseWrite(s.now)
	s.recv("0 . 1 ack 1 <remove_addr 0>")
	t.Log(s.left())
}
