package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/node"
)

// Descriptors that the supervisor is started with.
const (
	// ConnectedFD is where it waits for its network link.
	ConnectedFD = 3
	// nameFD keeps the cluster's name taken on this machine.
	nameFD = 4
)

const (
	// How long the kernel may take to end every process of the node.
	endTimeout = 30 * time.Second
	// How long it may take to close the descriptors of a killed process.
	releaseTimeout = 2 * time.Second
)

// Launch starts the supervisor as a session of its own in new namespaces, links its network with the host's, and notes its pid.
// It returns the pid and a channel that is closed when the supervisor ends.
func Launch(c cluster.Cluster) (int, <-chan struct{}, error) {
	name, err := claimName(c)
	if err != nil {
		return 0, nil, err
	}
	defer name.Close()
	log, err := os.OpenFile(c.Log("supervisor"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return 0, nil, err
	}
	defer log.Close()
	connected, connect, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer connected.Close()
	defer connect.Close()

	cmd := exec.Command(self, "supervise", c.StateDir)
	cmd.Args[0] = "ironsail-node"
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{connected, name}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: node.Namespaces}
	if err := cmd.Start(); err != nil {
		return 0, nil, fmt.Errorf("start the supervisor (root?): %w", err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its log says why
		close(ended)
	}()
	if err := writePID(c, cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		return 0, nil, err
	}
	if err := node.ConnectHost(c, cmd.Process.Pid); err != nil {
		_ = cmd.Process.Kill()
		<-ended
		return 0, nil, err
	}
	_, err = connect.Write([]byte{1})
	return cmd.Process.Pid, ended, err
}

// claimName takes a name that the kernel gives to one process at a time: an abstract socket, which lives as long as someone has it open.
func claimName(c cluster.Cluster) (*os.File, error) {
	address := &net.UnixAddr{Name: "@ironsail-node/" + c.Name + "/supervisor", Net: "unix"}
	listener, err := net.ListenUnix("unix", address)
	// A supervisor that was killed a moment ago may not have let go yet.
	for deadline := time.Now().Add(releaseTimeout); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
		listener, err = net.ListenUnix("unix", address)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("cluster %s runs with another state folder: end it, or choose another --name", c.Name)
	}
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	return listener.File()
}

// CheckName fails where a cluster of this name runs that is not in this state folder.
func CheckName(c cluster.Cluster) error {
	if pid, err := PID(c); err != nil || pid != 0 {
		return err
	}
	name, err := claimName(c)
	if err != nil {
		return err
	}
	return name.Close()
}

// writePID notes pid and start time; both together name one process for as long as the machine runs.
func writePID(c cluster.Cluster, pid int) error {
	started, err := startTime(pid)
	if err != nil {
		return err
	}
	return os.WriteFile(c.PIDFile(), fmt.Appendf(nil, "%d %s\n", pid, started), 0o644)
}

// PID is the supervisor's process id; 0 if it does not run.
func PID(c cluster.Cluster) (int, error) {
	content, err := os.ReadFile(c.PIDFile())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(content))
	if len(fields) != 2 {
		return 0, fmt.Errorf("%s: want a process id and its start time", c.PIDFile())
	}
	pid, err := strconv.Atoi(fields[0])
	if err != nil {
		return 0, fmt.Errorf("%s: %w", c.PIDFile(), err)
	}
	started, err := startTime(pid)
	if err != nil || started != fields[1] {
		return 0, nil // ended, or the number belongs to another process now
	}
	return pid, nil
}

// startTime is the boot id and the process's start in clock ticks since boot. It fails for a process that has ended.
func startTime(pid int) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The program's name, in parentheses, may hold anything; state is the first field after it, the start time the 20th.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || bytes.Equal(fields[0], []byte("Z")) || bytes.Equal(fields[0], []byte("X")) {
		return "", fmt.Errorf("process %d has ended", pid)
	}
	return string(bytes.TrimSpace(boot)) + "/" + string(fields[19]), nil
}

// End ends the supervisor, and with it every process of the node.
func End(c cluster.Cluster) error {
	pid, err := PID(c)
	if err != nil || pid == 0 {
		return err
	}
	deadline := time.Now().Add(endTimeout)
	signal := syscall.SIGTERM
	for kill := time.Now().Add(endTimeout / 3); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end supervisor %d: %w", pid, err)
		}
		if still, err := PID(c); err != nil || still == 0 {
			return err
		}
		if time.Now().After(kill) {
			signal = syscall.SIGKILL
		}
	}
	return fmt.Errorf("supervisor %d does not end", pid)
}
