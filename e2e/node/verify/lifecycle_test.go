//go:build node

package verify

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const other = "verify"

// leftovers lists what the other cluster has on the machine.
func leftovers(t *testing.T, state string) []string {
	t.Helper()
	var found []string
	if _, err := net.InterfaceByName(other + "-node"); err == nil {
		found = append(found, "interface")
	}
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*/" + other + "-node")
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, cgroups...)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), state) {
		found = append(found, "mount")
	}
	commandLines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range commandLines {
		if line, err := os.ReadFile(path); err == nil && strings.Contains(string(line), state) {
			found = append(found, "process "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	if _, err := os.Stat(state); err == nil {
		found = append(found, state)
	}
	return found
}

// A second cluster beside the first one: killed and started again, then ended three times, each time with a pod in it.
func TestLifecycle(t *testing.T) {
	parent, err := os.MkdirTemp("", "node") // short, for Unix sockets
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(parent, "state")
	run := func(command string, args ...string) string {
		t.Helper()
		return node(t, append([]string{command, "--name", other, "--state", state}, args...)...)
	}
	t.Cleanup(func() {
		run("down")
		if err := os.Remove(parent); err != nil {
			t.Error(err)
		}
	})

	run("up")
	if out, err := try(t, "up", "--name", other, "--state", state+"-elsewhere"); err == nil || !strings.Contains(err.Error(), "another state folder") {
		t.Errorf("a second cluster of one name: %s %v", out, err)
	}
	pid, err := strconv.Atoi(strings.Split(run("netns"), "/")[2])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "status of a killed cluster", func() error {
		_, err := try(t, "status", "--name", other, "--state", state)
		if err == nil || !strings.Contains(err.Error(), "exit status 3") {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})

	for range 3 {
		began := time.Now()
		run("up")
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("up took %s", took)
		}
		run("status")
		run("down")
		if found := leftovers(t, state); len(found) > 0 {
			t.Fatalf("left behind: %s", strings.Join(found, ", "))
		}
	}
	node(t, "status") // of the first cluster
}
