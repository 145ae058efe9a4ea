// Command tandem uses all links of this device at once: it joins a hub, runs the daemon, and tells the
// daemon what to do.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"tandem/app/command"
	"tandem/app/config"
	"tandem/app/control"
)

func main() {
	// The first interrupt ends ctx, the second the process. A terminal that closes interrupts too.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	context.AfterFunc(ctx, stop)
	os.Exit(command.Run(ctx, commands(), os.Args[1:], os.Stdout, os.Stderr))
}

// options are those of every command.
type options struct {
	state  string // folder
	socket string // of the daemon; "": where one is found
}

// commands are all that can be typed.
func commands() *cobra.Command {
	var o options
	cobra.EnableCommandSorting = false // they stand in the order in which they are first needed
	root := command.Root("tandem", "All links of this device at once")
	f := root.PersistentFlags()
	f.StringVar(&o.state, "state", string(config.DefaultFolder()), "`DIR` of keys and settings")
	f.StringVar(&o.socket, "socket", "", "`PATH` of the daemon's socket")
	root.AddCommand(
		demoCommand(), checkCommand(&o), joinCommand(&o), runCommand(&o), statusCommand(&o), linksCommand(&o), linkCommand(&o), setCommand(&o),
		connectionsCommand(&o), flowsCommand(&o), downCommand(&o), upCommand(&o), leaveCommand(&o),
	)
	return root
}

func (o *options) folder() config.Folder { return config.Folder(o.state) }

// listenAt is where the daemon of this state listens.
func (o *options) listenAt() string {
	if o.socket != "" {
		return o.socket
	}
	return control.Socket(o.folder())
}

// daemon returns a client of the daemon: the one of this state, else the system's.
func (o *options) daemon() *control.Client { return control.NewClient(o.listens()) }

// listens is where that daemon listens.
func (o *options) listens() string {
	at := o.listenAt()
	if o.socket == "" {
		if _, err := os.Stat(at); err != nil {
			if system := control.Socket("/var/lib/tandem"); exists(system) {
				at = system
			}
		}
	}
	return at
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
