package tcp
import ("testing";"math/rand/v2")
func TestZZ(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for k := range 60000 {
		p := make([]byte, 100+rng.IntN(6000))
		for i := range p { p[i] = byte(rng.Uint32()) }
		t.Run("", func(t *testing.T){ receiveAnything(t, &input{p}) })
		if t.Failed() { t.Fatal(k) }
	}
}
