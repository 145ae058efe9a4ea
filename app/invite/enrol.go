package invite

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"

	"tandem/tunnel/carrier"
)

// messageMax bounds a message of enrolment, in octets.
const messageMax = 16 << 10

// Request is what a device asks for when it enrols: the first message of two, a line of JSON each, on a
// TCP connection to EnrolPort at the hub's inner address.
type Request struct {
	Version int                // Version
	Name    string             // of the device, as it calls itself; the invite may say otherwise
	Keys    [Slots]carrier.Key // the slots' public keys
}

// Answer is what the hub says to a Request. The same Request with the same keys gets the same Answer.
type Answer struct {
	Error     string   `json:",omitempty"` // one sentence: why not; "": enrolled
	Name      string   // of the device, as the hub calls it
	Device    int      // its number, see SlotAddrs
	Hub       string   // the hub's name, for people
	Endpoints []string // HOST:PORT where the hub may be found
}

// Ask sends a request and waits for its answer. An Answer with an Error becomes an error of that text.
func Ask(rw io.ReadWriter, q Request) (Answer, error) {
	var a Answer
	if err := write(rw, q); err != nil {
		return a, fmt.Errorf("enrolling: %w", err)
	}
	if err := read(rw, &a); err != nil {
		return a, fmt.Errorf("enrolling: %w", err)
	}
	if a.Error != "" {
		return a, Refusal(a.Error)
	}
	return a, nil
}

// Refusal is the hub's reason not to enrol a device, one sentence.
type Refusal string

func (r Refusal) Error() string { return string(r) }

// ReadRequest reads what a device asks for.
func ReadRequest(r io.Reader) (q Request, err error) {
	if err := read(r, &q); err != nil {
		return q, err
	}
	seen := map[carrier.Key]bool{}
	for _, k := range q.Keys {
		if seen[k] || k == (carrier.Key{}) {
			return q, fmt.Errorf("slots need %d keys that differ", Slots)
		}
		seen[k] = true
	}
	return q, nil
}

// WriteAnswer answers a request.
func WriteAnswer(w io.Writer, a Answer) error { return write(w, a) }

func write(w io.Writer, message any) error {
	line, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// read takes one line, and nothing that is longer than a message is.
func read(r io.Reader, message any) error {
	line, err := bufio.NewReader(io.LimitReader(r, messageMax)).ReadBytes('\n')
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(line, message)
}
