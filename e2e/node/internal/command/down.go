package command

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/node"
	"ironsail.dev/node/internal/supervisor"
)

// How long processes that have been killed may take to leave their cgroups.
const leaveTimeout = 20 * time.Second

func downCommand(f *flags) *cobra.Command {
	var keepLogs bool
	c := &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove everything it made",
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
			if err := end(c); err != nil {
				return err
			}
			return removeFiles(c, keepLogs)
		},
	}
	c.Flags().BoolVar(&keepLogs, "keep-logs", false, "leave the folder log, with the audit log, until the next up")
	return c
}

// clean removes what a run left that was killed or ended.
func clean(c cluster.Cluster) error {
	if err := end(c); err != nil {
		return err
	}
	return removeFiles(c, false)
}

// end ends all processes and removes what is not a file.
func end(c cluster.Cluster) error {
	if err := supervisor.CheckName(c); err != nil {
		return err
	}
	if err := supervisor.End(c); err != nil {
		return err
	}
	if err := node.DisconnectHost(c); err != nil {
		return err
	}
	return node.RemoveCgroups(c, time.Now().Add(leaveTimeout))
}

func removeFiles(c cluster.Cluster, keepLogs bool) error {
	entries, err := os.ReadDir(c.StateDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := cluster.Load(c.StateDir); errors.Is(err, cluster.ErrAbsent) && len(entries) > 0 {
		return fmt.Errorf("%s holds files and is no cluster's state folder: choose another", c.StateDir)
	}
	if err := checkNoMounts(c.StateDir); err != nil {
		return err
	}
	if !keepLogs {
		return os.RemoveAll(c.StateDir)
	}
	for _, entry := range entries {
		if path := c.Path(entry.Name()); path != c.Path("log") {
			// The description stays: it says that the folder is ours.
			if entry.Name() == "cluster.json" {
				continue
			}
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkNoMounts fails where something is mounted below dir: removing files would reach into it.
func checkNoMounts(dir string) error {
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer mounts.Close()
	lines := bufio.NewScanner(mounts)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			return fmt.Errorf("something is mounted at %s: unmount it first", fields[4])
		}
	}
	return lines.Err()
}

// lock keeps other `up` and `down` of the same cluster out. The kernel takes the lock back when this process ends.
func lock(c cluster.Cluster) (unlock func(), err error) {
	listener, err := net.Listen("unix", "@ironsail-node/"+c.Name)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("another up or down of cluster %s is running", c.Name)
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = listener.Close() }, nil
}
