package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"tandem/tunnel/relay"
)

// SOCKSConfig says which proxy to ask, and how it is reached.
type SOCKSConfig struct {
	Proxy          func() netip.AddrPort
	User, Password string // no user: the proxy wants none
	Open           Opener
}

// A SOCKS is a Dialer that asks a SOCKS5 proxy. Greeting, password and request leave at once as soon as two things are
// known of the proxy: which method it chooses, which needs no asking without a user; and that it does not lose what comes with
// its greeting, as some do, which Learn finds out. Until then it takes a round trip for each.
type SOCKS struct {
	cfg  SOCKSConfig
	left departure

	mu   sync.Mutex
	know knowledge
}

// A knowledge is what is known of a proxy.
type knowledge struct {
	method    byte
	chosen    bool // method is what it chooses
	learnt    bool // whether it pipelines was found out
	pipelines bool // it takes greeting and request at once
}

// NewSOCKS returns a dialer.
func NewSOCKS(cfg SOCKSConfig) (*SOCKS, error) {
	if len(cfg.User) > lengthMax || len(cfg.Password) > lengthMax {
		return nil, fmt.Errorf("a proxy takes no user or password longer than %d octets", lengthMax)
	}
	s := &SOCKS{cfg: cfg}
	s.Forget()
	return s, nil
}

// Forget forgets what was learnt of the proxy, which may be another one now.
func (s *SOCKS) Forget() {
	s.learn(func(k *knowledge) { *k = knowledge{method: methodNone, chosen: s.cfg.User == ""} })
}

// Dial is part of relay.Dialer.
func (s *SOCKS) Dial(ctx context.Context, target netip.AddrPort) (relay.Stream, error) {
	return s.DialTo(ctx, TargetOf(target))
}

// DialTo asks for a target that may be a name.
func (s *SOCKS) DialTo(ctx context.Context, t Target) (relay.Stream, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	request := appendRequest(nil, commandConnect, t)
	k := s.known()
	stream, err := s.ask(ctx, k, request)
	if errors.Is(err, ErrMethod) && k.chosen && s.cfg.User != "" {
		stream, err = s.ask(ctx, knowledge{}, request) // it may have chosen otherwise once
	}
	return stream, err
}

// Cut returns how many connections were reset because the proxy was slow to close those on which it had refused something.
func (s *SOCKS) Cut() int { return int(s.left.cut.Load()) }

// Pipelines reports whether requests leave with the greeting.
func (s *SOCKS) Pipelines() bool {
	k := s.known()
	return k.chosen && k.pipelines
}

// Learnt reports whether Learn is of no use any more.
func (s *SOCKS) Learnt() bool { return s.known().learnt }

func (s *SOCKS) known() knowledge {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.know
}

func (s *SOCKS) learn(f func(k *knowledge)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.know)
}

// ask opens a connection for a request, and leaves it again if the answer is not good.
func (s *SOCKS) ask(ctx context.Context, k knowledge, request []byte) (relay.Stream, error) {
	stream, err := s.cfg.Open(ctx, s.cfg.Proxy(), s.opening(k, request), Patient)
	if err != nil {
		return nil, err
	}
	if err := talk(ctx, stream, func() error { return s.converse(stream, k, request) }); err != nil {
		if k.pipelines && errors.Is(err, context.DeadlineExceeded) { // it may lose requests that come with the greeting, unlike before
			s.learn(func(k *knowledge) { k.learnt, k.pipelines = false, false })
		}
		s.left.leave(stream, err)
		return nil, err
	}
	return stream, nil
}

// methods are those that are offered.
func (s *SOCKS) methods(k knowledge) []byte {
	if k.chosen {
		return []byte{k.method}
	}
	return []byte{methodNone, methodPassword}
}

// opening is what is said before the proxy has answered anything.
func (s *SOCKS) opening(k knowledge, request []byte) []byte {
	b := appendGreeting(nil, s.methods(k)...)
	if !k.chosen || !k.pipelines {
		return b
	}
	if k.method == methodPassword {
		b = appendPassword(b, s.cfg.User, s.cfg.Password)
	}
	return append(b, request...)
}

// converse reads the answers, and says what was not said in the opening.
func (s *SOCKS) converse(stream relay.Stream, k knowledge, request []byte) error {
	said := k.chosen && k.pipelines
	method, err := readMethod(stream)
	if err == nil {
		err = s.chose(k, method)
	}
	if err != nil {
		return err
	}
	if method == methodPassword {
		if !said {
			if _, err := stream.Write(appendPassword(nil, s.cfg.User, s.cfg.Password)); err != nil {
				return err
			}
		}
		if err := readVerdict(stream); err != nil {
			return err
		}
	}
	if !said {
		if _, err := stream.Write(request); err != nil {
			return err
		}
	}
	return readReply(stream)
}

// learnTime is how long a proxy may take to refuse what no proxy does.
const learnTime = 3 * time.Second

// Learn finds out whether the proxy takes a request that comes with the greeting. It asks for what no proxy does, which a
// proxy that hears it refuses at once; no target notices. The error says why nothing was learnt.
func (s *SOCKS) Learn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, learnTime)
	defer cancel()
	if !s.known().chosen {
		if err := s.learnMethod(ctx); err != nil {
			return err
		}
	}
	k := s.known()
	request := appendRequest(nil, commandNone, Target{Addr: netip.IPv4Unspecified()})
	k.pipelines = true
	stream, err := s.cfg.Open(ctx, s.cfg.Proxy(), s.opening(k, request), Patient)
	if err != nil {
		return err
	}
	greeted := false
	err = talk(ctx, stream, func() error {
		_, err := readMethod(stream)
		if greeted = err == nil; greeted && k.method == methodPassword {
			err = readVerdict(stream)
		}
		if err == nil {
			err = readReply(stream)
		}
		return err
	})
	s.left.leave(stream, err)
	if !greeted || errors.Is(err, context.Canceled) {
		return err
	}
	// Who hears the request answers it, or closes the connection because of it.
	heard := !errors.Is(err, context.DeadlineExceeded)
	s.learn(func(k *knowledge) { k.learnt, k.pipelines = true, heard })
	return nil
}

// learnMethod asks for nothing but which method the proxy chooses.
func (s *SOCKS) learnMethod(ctx context.Context) error {
	stream, err := s.cfg.Open(ctx, s.cfg.Proxy(), s.opening(knowledge{}, nil), Patient)
	if err != nil {
		return err
	}
	err = talk(ctx, stream, func() error {
		method, err := readMethod(stream)
		if err == nil {
			err = s.chose(knowledge{}, method)
		}
		return err
	})
	s.left.leave(stream, err)
	return err
}

// chose notes which of the methods that were offered the proxy chooses.
func (s *SOCKS) chose(offered knowledge, method byte) error {
	if !bytes.Contains(s.methods(offered), []byte{method}) {
		return ErrNotSOCKS
	}
	s.learn(func(k *knowledge) { k.method, k.chosen = method, true })
	return nil
}

var _ relay.Dialer = (*SOCKS)(nil)
