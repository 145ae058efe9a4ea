package config

import (
	"errors"
	"io/fs"
	"net/netip"
)

const endpointsFile = "endpoints.json"

// Endpoints are what the hub's names were found to mean last, by HOST:PORT.
type Endpoints map[string][]netip.AddrPort

// Endpoints reads what was found last.
func (f Folder) Endpoints() (Endpoints, error) {
	e := Endpoints{}
	err := f.load(endpointsFile, &e)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return e, err
}

// SaveEndpoints writes what was found.
func (f Folder) SaveEndpoints(e Endpoints) error {
	scratch := Endpoints{}
	return f.replace(endpointsFile, e, &scratch)
}
