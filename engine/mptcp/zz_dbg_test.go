package mptcp
import ("testing";"math/rand/v2";"fmt")
func TestDbg(t *testing.T) {
	for seed := range 300 {
		p := make([]byte, 3000)
		rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(p)
		fmt.Println("seed", seed)
		play(t, p)
	}
}
