package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/supervisor"
)

func statusCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Print what runs; exit code 0 if healthy, 1 if not, 3 if not running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, pid, err := f.running()
			if err != nil {
				return err
			}
			status, err := supervisor.NewClient(c).Status(cmd.Context())
			if err != nil {
				return err
			}
			processes, err := nodeProcesses(pid)
			if err != nil {
				return err
			}
			if err := printStatus(cmd.OutOrStdout(), c, pid, status, processes); err != nil {
				return err
			}
			switch {
			case status.Failure != "":
				return errors.New(status.Failure)
			case status.Problem != "":
				return errors.New(status.Problem)
			}
			return nil
		},
	}
}

func printStatus(out io.Writer, c cluster.Cluster, pid int, status supervisor.Status, processes map[int]process) error {
	fmt.Fprintf(out, "cluster %s: node %s, API %s, up %s\n", c.Name, c.NodeIP(), c.Server(), time.Since(status.Started).Round(time.Second))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "COMPONENT\tSTATE\tPID\tMEMORY\tSINCE\tRESTARTS\tLAST EXIT")
	row := func(s supervisor.ComponentStatus, p process) {
		hostPID, memory := "-", "-"
		if p.hostPID != 0 {
			hostPID, memory = strconv.Itoa(p.hostPID), fmt.Sprintf("%d MiB", p.rssKiB>>10)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", s.Name, s.State, hostPID, memory, time.Since(s.Since).Round(time.Second), s.Restarts, s.LastExit)
	}
	row(supervisor.ComponentStatus{Name: "supervisor", State: supervisor.Running, Since: status.Started}, processes[1])
	for _, component := range status.Components {
		row(component, processes[component.PID])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	total := 0
	for _, p := range processes {
		total += p.pssKiB
	}
	fmt.Fprintf(out, "%d processes with those of pods, %d MiB of memory (shared pages counted once)\n", len(processes), total>>10)
	return nil
}

// process is a process of the node, seen from the host.
type process struct{ hostPID, rssKiB, pssKiB int }

// nodeProcesses finds the processes of the node and of its pods, by the process id that they have in the node. Those of pods with
// namespaces of their own have several ids; the second is the node's.
func nodeProcesses(supervisorPID int) (map[int]process, error) {
	statusFiles, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		return nil, err
	}
	depth := 0
	if own, err := readFields("/proc/self/status"); err == nil {
		depth = len(strings.Fields(own["NSpid"]))
	}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", supervisorPID))
	if err != nil {
		return nil, err
	}
	processes := map[int]process{}
	for _, file := range statusFiles {
		fields, err := readFields(file)
		ids := strings.Fields(fields["NSpid"])
		if err != nil || len(ids) <= depth {
			continue // ended meanwhile, or of the host
		}
		folder := filepath.Dir(file)
		hostPID, err := strconv.Atoi(filepath.Base(folder))
		if err != nil || !descends(hostPID, supervisorPID, namespace) {
			continue
		}
		nodePID, err := strconv.Atoi(ids[depth])
		if err != nil {
			continue
		}
		p := process{hostPID: hostPID, rssKiB: kib(fields["VmRSS"])}
		if rollup, err := readFields(filepath.Join(folder, "smaps_rollup")); err == nil {
			p.pssKiB = kib(rollup["Pss"])
		}
		processes[nodePID] = p
	}
	return processes, nil
}

// descends says whether a process belongs to the supervisor's namespaces: it is in its mount namespace, or an ancestor is.
func descends(pid, supervisorPID int, namespace string) bool {
	for pid > 1 {
		if pid == supervisorPID {
			return true
		}
		if mounts, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", pid)); err == nil && mounts == namespace {
			return true
		}
		fields, err := readFields(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return false
		}
		if pid, err = strconv.Atoi(fields["PPid"]); err != nil {
			return false
		}
	}
	return false
}

// readFields reads a file of lines "name: value".
func readFields(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fields := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields, lines.Err()
}

func kib(value string) int {
	number, _, _ := strings.Cut(value, " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return 0
	}
	return n
}
