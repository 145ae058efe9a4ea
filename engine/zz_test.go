package engine
import ("testing";"tandem/engine/clock";"time";"os";"runtime";"runtime/pprof")
func TestZZ(t *testing.T){
 runtime.MemProfileRate=1
 w := newCable(t, BondConfig{Limits:&benchLimits},0,0)
 c,h := w.crowd(t,2000)
 for _,x:=range c { x.Write([]byte("hello")) }
 for _,x:=range h { x.Read(make([]byte,10)); x.Write([]byte("hello")) }
 for _,x:=range c { x.Read(make([]byte,10)) }
 time.Sleep(2500*time.Millisecond)
 runtime.GC(); runtime.GC()
 f,_:=os.Create("/tmp/perf/zz.mem"); pprof.Lookup("heap").WriteTo(f,0); f.Close()
 t.Log(c[7].Trace(), h[7].Trace())
 runtime.KeepAlive(c);runtime.KeepAlive(h); w.close()
}
func TestYY(t *testing.T){
 w := newCable(t, BondConfig{Limits:&benchLimits},0,0)
 c,h := w.crowd(t,2000)
 for _,x:=range c { x.Write([]byte("hello")) }
 for _,x:=range h { x.Read(make([]byte,10)); x.Write([]byte("hello")) }
 for _,x:=range c { x.Read(make([]byte,10)) }
 time.Sleep(2500*time.Millisecond)
 w.client.do(func(clock.Time){ t.Log(c[7].machine.Zed(), c[7].machine.Trace()) })
 w.hub.do(func(clock.Time){ t.Log(h[0].machine.Zed()) })
 w.close()
}
