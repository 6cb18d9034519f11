package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

const (
	defaultColumns = 80
	helpIndent     = 26 // where the explanation of a flag begins
)

// printHelp explains the command at the end of a path, or the program.
func printHelp(w io.Writer, app *cli.App, path []string) {
	commands, title, flags := app.Commands, app.Name+" - "+app.Usage, app.Flags
	usage, description := app.UsageText, app.Description
	for i, name := range path {
		for _, c := range commands {
			if c.HasName(name) {
				title = strings.Join(append([]string{app.Name}, path[:i+1]...), " ") + " - " + c.Usage
				commands, flags, usage, description = c.Subcommands, c.Flags, c.UsageText, c.Description
				break
			}
		}
	}
	fmt.Fprintf(w, "%s\n\nUsage:\n%s\n", title, indent(usage))
	if prose, _, _ := strings.Cut(description, "Examples:"); prose != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(prose))
	}
	printCommands(w, commands)
	printFlags(w, "Flags", flags)
	if _, examples, ok := strings.Cut(description, "Examples:"); ok {
		fmt.Fprintf(w, "\nExamples:\n%s\n", indent(strings.TrimSpace(examples)))
	}
	if len(path) > 0 {
		fmt.Fprintln(w, "\nFlags of every command (-e, -o, TLS, ...): lockd help")
	}
}

func indent(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line = strings.TrimSpace(line); line != "" {
			lines[i] = "  " + line
		}
	}
	return strings.Join(lines, "\n")
}

func printCommands(w io.Writer, commands []*cli.Command) {
	var category string
	for i, c := range commands {
		if c.Hidden {
			continue
		}
		if i == 0 || c.Category != category {
			category = c.Category
			fmt.Fprintf(w, "\n%s:\n", orElse(category, "Commands"))
		}
		fmt.Fprintf(w, "  %-14s %s\n", c.Name, c.Usage)
	}
}

func printFlags(w io.Writer, title string, flags []cli.Flag) {
	category := "-"
	for _, f := range flags {
		d, ok := f.(cli.DocGenerationFlag)
		if v, visible := f.(cli.VisibleFlag); !ok || visible && !v.IsVisible() {
			continue
		}
		if c, ok := f.(cli.CategorizableFlag); ok && c.GetCategory() != category {
			category = c.GetCategory()
			fmt.Fprintf(w, "\n%s:\n", orElse(category, title))
		}
		printFlag(w, f.Names(), d)
	}
}

func printFlag(w io.Writer, names []string, f cli.DocGenerationFlag) {
	var spelled []string
	for _, name := range slices.Backward(names) { // the short one first
		spelled = append(spelled, dashes(name))
	}
	head, usage := strings.Join(spelled, ", "), f.GetUsage()
	if before, placeholder, ok := strings.Cut(usage, "`"); ok {
		placeholder, after, _ := strings.Cut(placeholder, "`")
		head, usage = head+" "+placeholder, before+placeholder+after
	}
	if d := defaultOf(f); d != "" {
		usage += " (default " + d + ")"
	}
	for _, env := range f.GetEnvVars() {
		usage += " [$" + env + "]"
	}
	lines := wrap(usage, defaultColumns-helpIndent)
	if len(head)+2 >= helpIndent {
		fmt.Fprintf(w, "  %s\n", head)
		head = ""
	}
	for _, line := range lines {
		fmt.Fprintf(w, "  %-*s%s\n", helpIndent-2, head, line)
		head = ""
	}
}

func dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// defaultOf returns a flag's default for people, empty when there is none worth telling.
func defaultOf(f cli.DocGenerationFlag) string {
	switch f := f.(type) {
	case *cli.BoolFlag:
		return ""
	case *cli.DurationFlag:
		if f.DefaultText == "" && f.Value != 0 {
			return shortDuration(f.Value)
		}
		return f.DefaultText
	case *cli.StringFlag:
		return orElse(f.DefaultText, f.Value)
	case *cli.StringSliceFlag:
		if f.Value != nil {
			return strings.Join(f.Value.Value(), ",")
		}
		return f.DefaultText
	case *cli.IntFlag:
		if f.DefaultText == "" && f.Value != 0 {
			return fmt.Sprint(f.Value)
		}
		return f.DefaultText
	default:
		return f.GetDefaultText()
	}
}

// shortDuration drops the zero units that time.Duration writes.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// wrap breaks a text into lines of at most width columns.
func wrap(text string, width int) []string {
	var lines []string
	var line string
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
