package main

import (
	"fmt"
	"go/ast"
	"go/build/constraint"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The architecture, as data. A folder's rules hold for it and all below it; the longest match counts.

// top are the names that stand at the top of the repository, beside dotfiles.
var top = []string{
	"README.md", "LICENSE", "CHANGELOG.md", "go.mod", "go.sum",
	"app", "engine", "tunnel", "gui", "platform", "assets", "build",
}

// imports says which of the module's packages each folder may import beside itself and what is below it.
//
//	engine:  clock ← wire ← path ← tcp ← schedule, datagram ← mptcp ← engine;  sim beside
var imports = map[string][]string{
	"app":             {"app", "engine", "tunnel", "platform", "gui", "assets"},
	"build":           {"engine", "tunnel/carrier/carriertest"},
	"gui":             {"assets"},
	"platform":        {},
	"assets":          {},
	"tunnel":          {"engine/wire"},
	"engine":          {"engine/clock", "engine/wire", "engine/mptcp"},
	"engine/clock":    {},
	"engine/wire":     {"engine/clock"},
	"engine/path":     {"engine/clock", "engine/wire"},
	"engine/tcp":      {"engine/clock", "engine/wire", "engine/path"},
	"engine/schedule": {"engine/clock", "engine/wire", "engine/path", "engine/tcp"},
	"engine/datagram": {"engine/clock", "engine/wire", "engine/path", "engine/tcp"},
	"engine/convert":  {"engine/clock", "engine/wire"},
	"engine/mptcp":    {"engine/clock", "engine/wire", "engine/path", "engine/tcp", "engine/schedule", "engine/datagram"},
	"engine/sim": {"engine/clock", "engine/wire", "engine/path", "engine/tcp", "engine/schedule", "engine/datagram",
		"engine/convert", "engine/mptcp"},

	"tunnel/upstream":            {"tunnel", "engine/clock", "engine/convert"},
	"tunnel/implicit":            {"tunnel", "engine/clock", "engine/convert", "engine/wire"},
	"tunnel/carrier/carriertest": {"tunnel", "engine/clock", "engine/sim"}, // which drives the simulation's links
}

// simulated are the packages that are functions of their inputs.
var simulated = []string{
	"engine/wire", "engine/tcp", "engine/mptcp", "engine/path", "engine/schedule", "engine/datagram", "engine/convert", "engine/sim",
}

// impure are what simulated packages do not import, unless named in pardoned.
var impure = []string{"sync", "os", "net", "crypto/rand"}

var pardoned = map[string][]string{
	"engine/mptcp": {"sync/atomic"}, // of the stream's blocks, which readers and writers share with the loop
}

// pure are below impure and harmless.
var pure = []string{"net/netip"}

// impureCalls are functions that read the clock, wait, or draw what no seed decides.
var impureCalls = map[string][]string{
	"time":      {"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"},
	"math/rand": {"*"},
	"math/rand/v2": {"ExpFloat64", "Float32", "Float64", "Int", "Int32", "Int32N", "Int64", "Int64N", "IntN", "N", "NormFloat64",
		"Perm", "Shuffle", "Uint", "Uint32", "Uint32N", "Uint64", "Uint64N", "UintN"},
}

// systemFolders may hold files for one system only.
var systemFolders = []string{"platform", "tunnel/carrier", "tunnel/relay", "tunnel/upstream", "build/lab"}

const (
	fileLinesMax     = 650 // of files that are not tests
	functionLinesMax = 90
)

func TestShape(t *testing.T) {
	repository := os.DirFS("..")
	files, err := parse(repository)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 20 {
		t.Fatalf("found %d files only", len(files))
	}
	entries, err := fs.ReadDir(repository, ".")
	if err != nil {
		t.Fatal(err)
	}
	problems := checkTop(entries)
	for _, f := range files {
		for _, rule := range fileRules {
			problems = append(problems, rule(f)...)
		}
	}
	for _, p := range append(problems, checkComments(files)...) {
		t.Error(p)
	}
}

// A source is a parsed file and where it stands.
type source struct {
	name string // within the repository
	fset *token.FileSet
	file *ast.File
}

func (s source) folder() string { return path.Dir(s.name) }

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

func (s source) at(node ast.Node, format string, args ...any) string {
	return fmt.Sprintf("%s:%d: %s", s.name, s.fset.Position(node.Pos()).Line, fmt.Sprintf(format, args...))
}

// imported maps the names that a file uses for its imports to their paths.
func (s source) imported() map[string]string {
	names := map[string]string{}
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(p)
		if regexp.MustCompile(`^v\d+$`).MatchString(name) {
			name = path.Base(path.Dir(p))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

func parse(repository fs.FS) (files []source, err error) {
	err = fs.WalkDir(repository, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".go":
			return nil
		}
		text, err := fs.ReadFile(repository, name)
		if err != nil {
			return err
		}
		s, err := parseSource(name, text)
		files = append(files, s)
		return err
	})
	return files, err
}

func parseSource(name string, text []byte) (source, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, text, parser.ParseComments)
	return source{name, fset, file}, err
}

// within reports whether a path is a folder or below it.
func within(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

func withinAny(p string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(p, f) })
}

// fileRules are what holds for each file by itself.
var fileRules = []func(source) []string{checkImports, checkPurity, checkSystem, checkLength}

func checkTop(entries []fs.DirEntry) (problems []string) {
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(top, e.Name()) {
			problems = append(problems, e.Name()+": no such name at the top of the tree")
		}
	}
	return problems
}

// checkImports: the star, and the engine on the standard library alone.
func checkImports(s source) (problems []string) {
	folder := s.folder()
	owner := ""
	for f := range imports {
		if within(folder, f) && len(f) > len(owner) {
			owner = f
		}
	}
	if owner == "" {
		return []string{s.name + ": in a folder that the architecture does not know"}
	}
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		own, ours := strings.CutPrefix(p, "tandem/")
		switch {
		case ours && !mayImport(owner, own):
			problems = append(problems, s.at(spec, "%s does not import %s", owner, own))
		case !ours && within(folder, "engine") && strings.Contains(strings.Split(p, "/")[0], "."):
			problems = append(problems, s.at(spec, "the engine is the standard library only, not %s", p))
		}
	}
	return problems
}

// mayImport: an allowed folder allows what is below it, except that each package of the engine is named.
func mayImport(owner, p string) bool {
	if within(p, owner) && owner != "engine" {
		return true
	}
	return slices.ContainsFunc(imports[owner], func(allowed string) bool {
		if within(owner, "engine") {
			return p == allowed
		}
		return within(p, allowed)
	})
}

// checkPurity: simulated packages are functions of their inputs. Their tests may be more.
func checkPurity(s source) (problems []string) {
	if s.test() || !withinAny(s.folder(), simulated) {
		return nil
	}
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		if withinAny(p, impure) && !slices.Contains(pure, p) && !slices.Contains(pardoned[s.folder()], p) {
			problems = append(problems, s.at(spec, "a simulated package does not import %s", p))
		}
	}
	names := s.imported()
	ast.Inspect(s.file, func(node ast.Node) bool {
		switch n := node.(type) {
		case *ast.GoStmt:
			problems = append(problems, s.at(n, "a simulated package starts no goroutine"))
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if !ok || pkg.Obj != nil {
				break
			}
			forbidden := impureCalls[names[pkg.Name]]
			if slices.Contains(forbidden, n.Sel.Name) || slices.Contains(forbidden, "*") {
				problems = append(problems, s.at(n, "a simulated package does not use %s.%s", pkg.Name, n.Sel.Name))
			}
		}
		return true
	})
	return problems
}

// systems are the names by which files say that they are for one system.
var systems = []string{
	"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd", "plan9", "solaris",
	"unix", "wasip1", "windows",
}

// checkSystem: what depends on the system stands where systems are dealt with.
func checkSystem(s source) (problems []string) {
	if withinAny(s.folder(), systemFolders) {
		return nil
	}
	for _, part := range strings.Split(strings.TrimSuffix(path.Base(s.name), ".go"), "_")[1:] {
		if slices.Contains(systems, part) {
			problems = append(problems, s.name+": a file for one system only")
		}
	}
	for _, group := range s.file.Comments {
		for _, line := range group.List {
			expression, err := constraint.Parse(line.Text)
			if err != nil || line.Pos() > s.file.Package {
				continue
			}
			expression.Eval(func(tag string) bool {
				if slices.Contains(systems, tag) {
					problems = append(problems, s.at(line, "a file for one system only"))
				}
				return false
			})
		}
	}
	return problems
}

func checkLength(s source) (problems []string) {
	if lines := s.fset.File(s.file.Pos()).LineCount(); lines > fileLinesMax && !s.test() {
		problems = append(problems, fmt.Sprintf("%s: %d lines, more than %d", s.name, lines, fileLinesMax))
	}
	for _, d := range s.file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		if lines := s.fset.Position(f.End()).Line - s.fset.Position(f.Pos()).Line + 1; lines > functionLinesMax {
			problems = append(problems, s.at(f, "%s has %d lines, more than %d", f.Name, lines, functionLinesMax))
		}
	}
	return problems
}

// checkComments: every package says once what it is.
func checkComments(files []source) (problems []string) {
	comments := map[string]int{}
	for _, s := range files {
		if s.test() {
			continue
		}
		comments[s.folder()] += 0
		if strings.TrimSpace(s.file.Doc.Text()) != "" {
			comments[s.folder()]++
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(comments)) {
		if n := comments[folder]; n != 1 {
			problems = append(problems, fmt.Sprintf("%s: %d package comments, not 1", folder, n))
		}
	}
	return problems
}

// TestShapeRules breaks each rule once: a rule that finds nothing guards nothing.
func TestShapeRules(t *testing.T) {
	long := strings.Repeat("\n", fileLinesMax)
	for _, c := range []struct {
		what, name, text string
		want             string // part of the only problem; "": none
	}{
		{"neighbour", "gui/a.go", `import "tandem/engine"`, "gui does not import engine"},
		{"upward", "engine/wire/a.go", `import "tandem/engine/tcp"`, "engine/wire does not import engine/tcp"},
		{"sim and engine", "engine/sim/a.go", `import "tandem/engine"`, "engine/sim does not import engine"},
		{"engine and sim", "engine/a.go", `import "tandem/engine/sim"`, "engine does not import engine/sim"},
		{"app knows all", "app/client/a.go", `import "tandem/tunnel/carrier"`, ""},
		{"nobody knows app", "tunnel/relay/a.go", `import "tandem/app/config"`, "tunnel does not import app/config"},
		{"library in the engine", "engine/tcp/a_test.go", `import "golang.org/x/net/ipv4"`, "standard library only"},
		{"unknown folder", "util/a.go", ``, "does not know"},
		{"lock", "engine/tcp/a.go", `import "sync"`, "does not import sync"},
		{"atomic", "engine/tcp/a.go", `import "sync/atomic"`, "does not import sync/atomic"},
		{"atomic in blocks", "engine/mptcp/a.go", `import "sync/atomic"`, ""},
		{"socket", "engine/sim/a.go", `import "net"`, "does not import net"},
		{"address", "engine/sim/a.go", `import "net/netip"`, ""},
		{"file in a test", "engine/sim/a_test.go", `import "os"`, ""},
		{"goroutine", "engine/tcp/a.go", `func f() { go f() }`, "starts no goroutine"},
		{"goroutine in the engine", "engine/a.go", `func f() { go f() }`, ""},
		{"clock", "engine/path/a.go", "import \"time\"\nvar x = time.Now", "does not use time.Now"},
		{"duration", "engine/path/a.go", "import \"time\"\nvar x = time.Second", ""},
		{"global dice", "engine/path/a.go", "import dice \"math/rand/v2\"\nvar x = dice.IntN(6)", "does not use dice.IntN"},
		{"own dice", "engine/path/a.go", "import \"math/rand/v2\"\nvar x = rand.New(rand.NewPCG(1, 2)).IntN(6)", ""},
		{"file of a system", "engine/a_linux.go", ``, "one system only"},
		{"test of a system", "engine/a_windows_test.go", ``, "one system only"},
		{"file of a system in its place", "platform/a_linux.go", ``, ""},
		{"tag of a system", "app/a.go", "TAG//go:build !race && !linux", "one system only"},
		{"tag of no system", "app/a.go", "TAG//go:build race", ""},
		{"long file", "engine/a.go", long, "more than 650"},
		{"long test", "engine/a_test.go", long, ""},
		{"long function", "engine/a.go", "func f() {" + strings.Repeat("\n", functionLinesMax) + "}", "f has 91 lines"},
	} {
		text := "package p\n" + c.text
		if tag, ok := strings.CutPrefix(c.text, "TAG"); ok {
			text = tag + "\n\npackage p\n"
		}
		s, err := parseSource(c.name, []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		var problems []string
		for _, rule := range fileRules {
			problems = append(problems, rule(s)...)
		}
		switch {
		case c.want == "" && len(problems) > 0:
			t.Errorf("%s: %q, want nothing", c.what, problems)
		case c.want != "" && (len(problems) != 1 || !strings.Contains(problems[0], c.want)):
			t.Errorf("%s: %q, want %q", c.what, problems, c.want)
		}
	}
}

func TestShapeComments(t *testing.T) {
	first, _ := parseSource("engine/a.go", []byte("// Package a is.\npackage a"))
	second, _ := parseSource("engine/b.go", []byte("// Package a is too.\npackage a"))
	third, _ := parseSource("engine/c_test.go", []byte("// Package a is tested.\npackage a"))
	none, _ := parseSource("gui/a.go", []byte("//go:build !race\n\npackage a"))
	for _, c := range []struct {
		files []source
		want  []string
	}{
		{[]source{first}, nil},
		{[]source{first, third}, nil},
		{[]source{first, second}, []string{"engine: 2 package comments, not 1"}},
		{[]source{first, none}, []string{"gui: 0 package comments, not 1"}},
	} {
		if got := checkComments(c.files); !slices.Equal(got, c.want) {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
