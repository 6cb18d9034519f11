package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	client "github.com/lockd/lockd/client/go"
)

// Each script hands the words up to the cursor to the hidden command "complete", which prints what may stand there: a candidate, a tab,
// an explanation.
const bashCompletion = `# lockd completion for bash: source <(lockd completion bash)
_lockd() {
	local IFS=$'\n' cur=${COMP_WORDS[COMP_CWORD]}
	local words=("${COMP_WORDS[@]:1:COMP_CWORD}")
	COMPREPLY=($(lockd complete -- "${words[@]}" 2>/dev/null | cut -f1))
	[[ ${#COMPREPLY[@]} -eq 0 ]] && COMPREPLY=($(compgen -f -- "$cur"))
}
complete -F _lockd lockd
`

const zshCompletion = `#compdef lockd
# lockd completion for zsh: source <(lockd completion zsh)
_lockd() {
	local -a found
	local candidate explanation
	while IFS=$'\t' read -r candidate explanation; do
		found+=("${candidate//:/\\:}:${explanation}")
	done < <(lockd complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
	if (( ${#found} )); then
		_describe lockd found
	else
		_files
	fi
}
compdef _lockd lockd
`

const fishCompletion = `# lockd completion for fish: lockd completion fish | source
function __lockd_complete
	set -l words (commandline -opc) (commandline -ct)
	lockd complete -- $words[2..-1] 2>/dev/null
end
complete -c lockd -a '(__lockd_complete)'
`

const (
	completeTimeout = 700 * time.Millisecond // for the names of locks
	completeMost    = 100
)

func (p *program) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Category: groupOther, Usage: "print what completes commands in a shell", UsageText: "lockd completion bash|zsh|fish",
		Description: "Completes commands, flags and the names of locks.\n\nExamples:\nsource <(lockd completion bash)         # in ~/.bashrc\nlockd completion fish | source",
		Action: p.action(func(_ context.Context, c *call) error {
			args, err := c.args("SHELL")
			if err != nil {
				return err
			}
			scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
			script, ok := scripts[args[0]]
			if !ok {
				return c.usage("no completion for %q: say bash, zsh or fish", args[0])
			}
			_, err = fmt.Fprint(c.out, script)
			return err
		}),
	}
}

// completeCommand is what the scripts call.
func (p *program) completeCommand() *cli.Command {
	return &cli.Command{
		Name: "complete", Hidden: true, UsageText: "lockd complete -- WORD...",
		Action: p.action(func(ctx context.Context, c *call) error {
			_, given := splitCommand(c.flags.Args().Slice())
			if len(given) == 0 {
				return nil
			}
			for _, line := range c.complete(ctx, given[:len(given)-1], given[len(given)-1]) {
				fmt.Fprintln(c.out, line)
			}
			return nil
		}),
	}
}

// complete returns what may stand where the last word has begun.
func (c *call) complete(ctx context.Context, before []string, last string) []string {
	w, err := read(c.app(), before)
	if err != nil || w.rest != nil {
		return nil // behind "--", or behind a flag that needs a value: nothing of lockd
	}
	var found []string
	add := func(word, explanation string) {
		if strings.HasPrefix(word, last) {
			found = append(found, word+"\t"+explanation)
		}
	}
	switch l := w.last(); {
	case strings.HasPrefix(last, "-"):
		for _, l := range slices.Backward(w.levels) {
			for _, f := range l.flags {
				if d, ok := f.(cli.DocGenerationFlag); ok {
					add("--"+f.Names()[0], strings.ReplaceAll(d.GetUsage(), "`", ""))
				}
			}
		}
	case len(l.commands) > 0:
		for _, sub := range l.commands {
			if !sub.Hidden {
				add(sub.Name, sub.Usage)
			}
		}
	case l.name == "completion":
		for _, shell := range []string{"bash", "zsh", "fish"} {
			add(shell, "")
		}
	case len(w.names) == 0 && slices.Contains([]string{"lock", "elect", "ls", "show", "leader", "check-token"}, l.name):
		for _, name := range c.lockNames(ctx, last) {
			add(name, "")
		}
	}
	return found
}

// lockNames returns some locks that exist, if a node answers quickly.
func (c *call) lockNames(ctx context.Context, prefix string) []string {
	cl, err := c.connect()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completeTimeout)
	defer cancel()
	var names []string
	for s, err := range cl.List(ctx, prefix, client.Stale()) {
		if err != nil || len(names) == completeMost {
			break
		}
		names = append(names, s.Name)
	}
	_ = cl.Close(ctx) // it holds nothing
	return names
}
