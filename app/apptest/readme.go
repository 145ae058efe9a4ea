package apptest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// CheckReadme makes sure that what README.md has people type a program does take, and that it names each of the
// program's commands. Nothing is run; further looks at each command after its flags have been read.
func CheckReadme(t *testing.T, commands func() *cobra.Command, further func(*cobra.Command) error) {
	t.Helper()
	missing := map[string]bool{}
	for _, c := range commands().Commands() {
		missing[c.Name()] = true
	}
	for _, words := range Readme(t, commands().Name()) {
		line, root := strings.Join(words, " "), commands()
		c, rest, err := root.Find(words[1:])
		if err == nil {
			err = c.ParseFlags(rest)
		}
		if err == nil {
			err = c.ValidateArgs(c.Flags().Args())
		}
		if err == nil && further != nil {
			err = further(c)
		}
		if err != nil {
			t.Errorf("README.md: %s: %v", line, err)
		}
		delete(missing, c.Name())
	}
	for name := range missing {
		t.Errorf("README.md does not name %s %s", commands().Name(), name)
	}
}

// Readme returns the command lines that README.md has people type a program, in words.
func Readme(t *testing.T, program string) (lines [][]string) {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range typed(string(text)) {
		if words := strings.Fields(line); words[0] == program {
			lines = append(lines, words)
		}
	}
	return lines
}

// typed are the command lines of README.md: those of its steps, and those of its table, where a program is named once
// a row, and a list at the end of a line means a line for each.
func typed(text string) (lines []string) {
	program := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		step := strings.Fields(strings.NewReplacer("sudo ", "", "./", "", "go run ./app/", "").Replace(line))
		switch {
		case len(step) > 1 && slices.Contains([]string{"tandem", "tandem-hub"}, step[0]):
			lines = append(lines, strings.Join(step, " "))
		case strings.HasPrefix(line, "| `"):
			cell, _, _ := strings.Cut(line[1:], "|")
			for i, span := range strings.Split(cell, "`") {
				if i%2 == 0 {
					continue
				}
				first, rest, _ := strings.Cut(span, " ")
				if slices.Contains([]string{"tandem", "tandem-hub"}, first) {
					program, span = first, rest
				}
				lines = append(lines, each(program+" "+span)...)
			}
		}
	}
	return lines
}

// each gives a line for each word of the list at its end.
func each(line string) (lines []string) {
	head, list := line, ""
	if i := strings.Index(line, ", "); i >= 0 {
		i = strings.LastIndex(line[:i], " ") + 1
		head, list = line[:i], line[i:]
	}
	for _, word := range strings.Split(list, ", ") {
		lines = append(lines, strings.TrimSpace(head+word))
	}
	return lines
}
