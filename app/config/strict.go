package config

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// A lineError is what is wrong, and in which line, counted from 1.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("%d: %v", e.line, e.err) }
func (e *lineError) Unwrap() error { return e.err }

// A validator says what is wrong with a value of which every part has the right type.
type validator interface{ Validate() error }

// A defaulter is not zero where the file says nothing.
type defaulter interface{ defaults() }

// decode reads one JSON value into value. Unknown and repeated names, values of a wrong type or that do
// not validate, and anything after the value are errors, which tell the line. encoding/json does not
// know where an unknown name or a text of a wrong form stands, hence the walk of our own.
func decode(text []byte, value any) error {
	d := decoder{json.NewDecoder(bytes.NewReader(text))}
	err := d.value(reflect.ValueOf(value).Elem())
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("something follows the end")
		}
	}
	if err == nil {
		return nil
	}
	offset := d.InputOffset()
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		offset, err = int64(len(text)), errors.New("the file ends too early")
	}
	offset = min(offset, int64(len(text)))
	return &lineError{1 + bytes.Count(text[:offset], []byte("\n")), err}
}

// encode writes what decode reads, for people too.
func encode(value any) ([]byte, error) {
	text, err := json.MarshalIndent(value, "", "\t")
	return append(text, '\n'), err
}

type decoder struct{ *json.Decoder }

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

func (d decoder) value(v reflect.Value) error {
	var err error
	switch {
	case reflect.PointerTo(v.Type()).Implements(textType):
		err = d.leaf(v)
	case v.Kind() == reflect.Struct:
		err = d.object(v.Type().String(), func(name string) error { return d.field(v, name) })
	case v.Kind() == reflect.Map:
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		err = d.object("map", func(name string) error { return d.entry(v, name) })
	case v.Kind() == reflect.Slice, v.Kind() == reflect.Array:
		err = d.array(v)
	default:
		err = d.leaf(v)
	}
	if err != nil {
		return err
	}
	if c, ok := v.Addr().Interface().(validator); ok {
		return c.Validate()
	}
	return nil
}

// leaf reads what has no parts of its own.
func (d decoder) leaf(v reflect.Value) error {
	err := d.Decode(v.Addr().Interface())
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("%s where %s belongs", wrong.Value, kindWord(v.Kind()))
	}
	return err
}

func kindWord(k reflect.Kind) string {
	switch k {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	case reflect.Float64, reflect.Int, reflect.Int64, reflect.Uint64:
		return "a number"
	}
	return "something else"
}

// open reads the token that begins an object or an array.
func (d decoder) open(want json.Delim, what string) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	if t == nil {
		t = "null"
	}
	if t != want {
		return fmt.Errorf("%v where %s belongs", t, what)
	}
	return nil
}

// object reads an object, whose values are read by each.
func (d decoder) object(what string, each func(name string) error) error {
	if err := d.open('{', "an object"); err != nil {
		return err
	}
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if seen[name] {
			return fmt.Errorf("%q stands here twice", name)
		}
		seen[name] = true
		if err := each(name); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

func (d decoder) field(v reflect.Value, name string) error {
	for i := range v.NumField() {
		tag, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if tag == name {
			return d.value(v.Field(i))
		}
	}
	return fmt.Errorf("%q is not known here", name)
}

func (d decoder) entry(v reflect.Value, name string) error {
	e := reflect.New(v.Type().Elem()).Elem()
	if c, ok := e.Addr().Interface().(defaulter); ok {
		c.defaults()
	}
	if err := d.value(e); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	v.SetMapIndex(reflect.ValueOf(name), e)
	return nil
}

func (d decoder) array(v reflect.Value) error {
	if err := d.open('[', "a list"); err != nil {
		return err
	}
	n := 0
	for ; d.More(); n++ {
		e := reflect.New(v.Type().Elem()).Elem()
		if err := d.value(e); err != nil {
			return err
		}
		switch {
		case v.Kind() == reflect.Slice:
			v.Set(reflect.Append(v, e))
		case n < v.Len():
			v.Index(n).Set(e)
		}
	}
	if v.Kind() == reflect.Array && n != v.Len() {
		return fmt.Errorf("%d values where %d belong", n, v.Len())
	}
	_, err := d.Token()
	return err
}
