package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/kube"
	"ironsail.dev/node/internal/node"
	"ironsail.dev/node/internal/supervisor"
)

const (
	pollInterval = 200 * time.Millisecond
	// How much of a log an error message shows.
	logTail = 2000
)

func upCommand(f *flags) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster and wait until it is ready; nothing happens if it is",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := f.cluster()
			if err != nil {
				return err
			}
			unlock, err := lock(c)
			if err != nil {
				return err
			}
			defer unlock()
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return up(ctx, c, cmd.OutOrStdout())
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", 3*time.Minute, "how long to wait until it is ready")
	return c
}

func up(ctx context.Context, c cluster.Cluster, out io.Writer) error {
	pid, err := supervisor.PID(c)
	if err != nil {
		return err
	}
	var ended <-chan struct{}
	if pid == 0 {
		if ended, err = launch(c); err != nil {
			return err
		}
	} else if replaced(pid) {
		fmt.Fprintln(out, "the cluster runs an older build of this program; `ironsail-node down` and `up` start the new one")
	}
	if err := waitHealthy(ctx, c, ended, out); err != nil {
		return err
	}
	fmt.Fprintf(out, "cluster %s is ready: node %s, Kubernetes API %s\nexport KUBECONFIG=%s\n", c.Name, c.NodeIP(), c.Server(), c.Kubeconfig())
	return nil
}

// launch removes what a killed run left, makes the state folder anew and starts the supervisor.
func launch(c cluster.Cluster) (<-chan struct{}, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("needs root: the node has its own network and mounts")
	}
	if err := node.CheckPrograms(); err != nil {
		return nil, err
	}
	if err := clean(c); err != nil {
		return nil, err
	}
	for _, folder := range []string{"", "config", "etcd", "images", "log", "rootfs/etc/cni/net.d"} {
		if err := os.MkdirAll(c.Path(folder), 0o755); err != nil {
			return nil, err
		}
	}
	for _, secret := range []string{c.PKI(""), c.Path("etcd"), c.Config("")} {
		if err := os.MkdirAll(secret, 0o700); err != nil {
			return nil, err
		}
		if err := os.Chmod(secret, 0o700); err != nil {
			return nil, err
		}
	}
	if err := c.Save(); err != nil {
		return nil, err
	}
	if err := kube.WriteCredentials(c); err != nil {
		return nil, err
	}
	if err := kube.WriteConfig(c); err != nil {
		return nil, err
	}
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if executable, err = filepath.EvalSymlinks(executable); err != nil {
		return nil, err
	}
	if err := kube.WriteImages(c, filepath.Dir(executable)); err != nil {
		return nil, err
	}
	if err := node.CreateCgroups(c); err != nil {
		return nil, err
	}
	_, ended, err := supervisor.Launch(c)
	return ended, err
}

// waitHealthy prints the stages of the start as they are reached and returns when nothing is wrong any more. ended is nil for a supervisor that ran before.
func waitHealthy(ctx context.Context, c cluster.Cluster, ended <-chan struct{}, out io.Writer) error {
	client := supervisor.NewClient(c)
	printed := map[string]bool{}
	problem := "the supervisor does not answer"
	for {
		status, err := client.Status(ctx)
		switch {
		case err != nil:
		case status.Failure != "":
			return fmt.Errorf("%s%s", status.Failure, tail(c, "supervisor"))
		default:
			if ended != nil {
				printStages(status.Stages, printed, out)
			}
			if status.Problem == "" && booted(status.Stages) {
				return nil
			}
			problem = status.Problem
		}
		select {
		case <-ended:
			return fmt.Errorf("the supervisor ended%s", tail(c, "supervisor"))
		case <-ctx.Done():
			name, _, _ := strings.Cut(problem, ":")
			return fmt.Errorf("not ready: %s%s", problem, tail(c, name))
		case <-time.After(pollInterval):
		}
	}
}

func printStages(stages []supervisor.Stage, printed map[string]bool, out io.Writer) {
	for _, stage := range stages {
		if stage.Seconds > 0 && !printed[stage.Name] {
			printed[stage.Name] = true
			fmt.Fprintf(out, "%5.1f s  %s\n", stage.Seconds, stage.Name)
		}
	}
}

func booted(stages []supervisor.Stage) bool {
	for _, stage := range stages {
		if stage.Seconds == 0 {
			return false
		}
	}
	return true
}

// tail is the end of a component's log, for an error message; empty if there is none.
func tail(c cluster.Cluster, component string) string {
	content, err := os.ReadFile(c.Log(component))
	if err != nil || len(content) == 0 {
		return ""
	}
	return fmt.Sprintf("\nlast lines of %s:\n%s", c.Log(component), content[max(0, len(content)-logTail):])
}

// replaced says whether the file of a running program has been written anew.
func replaced(pid int) bool {
	executable, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && strings.HasSuffix(executable, " (deleted)")
}
