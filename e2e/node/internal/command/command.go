// Package command is the command line of ironsail-node.
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/supervisor"
)

// Exit codes, as init scripts have them.
const (
	exitFailure    = 1
	exitNotRunning = 3
)

// errNotRunning ends a command that needs a running cluster.
var errNotRunning = errors.New("the cluster is not running: start it with `ironsail-node up`")

// flags of every command.
type flags struct{ name, state string }

func (f *flags) cluster() (cluster.Cluster, error) {
	name := f.name
	if name == "" {
		name = os.Getenv("IRONSAIL_NAME")
	}
	return cluster.New(name, f.state)
}

// running is the cluster, if its supervisor runs.
func (f *flags) running() (cluster.Cluster, int, error) {
	c, err := f.cluster()
	if err != nil {
		return c, 0, err
	}
	pid, err := supervisor.PID(c)
	if err == nil && pid == 0 {
		err = errNotRunning
	}
	return c, pid, err
}

// Main runs the command that the arguments name and returns the exit code.
func Main() int {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	err := root().ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errNotRunning):
		fmt.Fprintln(os.Stderr, "ironsail-node:", err)
		return exitNotRunning
	default:
		fmt.Fprintln(os.Stderr, "ironsail-node:", err)
		return exitFailure
	}
}

func root() *cobra.Command {
	f := &flags{}
	c := &cobra.Command{
		Use:               "ironsail-node",
		Short:             "A Kubernetes of one node on this machine",
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	c.PersistentFlags().StringVar(&f.name, "name", "", `name of the cluster, if there are several (default "ironsail"; $IRONSAIL_NAME)`)
	c.PersistentFlags().StringVar(&f.state, "state", "", "folder for everything the cluster keeps ($IRONSAIL_STATE; default ~/.cache/ironsail/node)")
	c.AddCommand(
		upCommand(f), downCommand(f), statusCommand(f), loadCommand(f),
		verbCommand(f, supervisor.Start, "Start a stopped component"),
		verbCommand(f, supervisor.Stop, "Stop a component until it is started"),
		verbCommand(f, supervisor.Restart, "Stop and start a component"),
		printCommand(f, "kubeconfig", "Print the path of the administrator's kubeconfig", func(c cluster.Cluster, _ int) string { return c.Kubeconfig() }),
		printCommand(f, "node-ip", "Print the address of the node, which the host reaches", func(c cluster.Cluster, _ int) string { return c.NodeIP().String() }),
		printCommand(f, "audit-log", "Print the path of the API server's audit log", func(c cluster.Cluster, _ int) string { return c.AuditLog() }),
		printCommand(f, "netns", "Print the path of the node's network namespace, for nsenter --net=", func(_ cluster.Cluster, pid int) string {
			return fmt.Sprintf("/proc/%d/ns/net", pid)
		}),
		&cobra.Command{
			Use:                "kubectl",
			Short:              "kubectl with the kubeconfig of the cluster, unless $KUBECONFIG names another",
			DisableFlagParsing: true, // main runs it; this is for the help text
			Run:                func(*cobra.Command, []string) {},
		},
		superviseCommand(),
	)
	return c
}

func verbCommand(f *flags, verb supervisor.Verb, short string) *cobra.Command {
	return &cobra.Command{
		Use:   string(verb) + " <component>...",
		Short: short,
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			c, _, err := f.running()
			if err != nil {
				return err
			}
			for _, name := range names {
				if err := supervisor.NewClient(c).Do(cmd.Context(), verb, name); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func printCommand(f *flags, use, short string, value func(cluster.Cluster, int) string) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, pid, err := f.running()
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), value(c, pid))
			return nil
		},
	}
}

func superviseCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise <state folder>",
		Short:  "Run the node; `up` starts it",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			c, err := cluster.Load(args[0])
			if err != nil {
				return err
			}
			return supervisor.Run(c, os.NewFile(supervisor.ConnectedFD, "connected"))
		},
	}
}

// UseKubeconfig makes the cluster's kubeconfig the default of this process, if the cluster has one.
func UseKubeconfig() {
	if os.Getenv("KUBECONFIG") != "" {
		return
	}
	c, err := (&flags{}).cluster()
	if err != nil {
		return
	}
	if _, err := os.Stat(c.Kubeconfig()); err == nil {
		_ = os.Setenv("KUBECONFIG", c.Kubeconfig())
	}
}
