package supervisor

import (
	"path/filepath"
	"testing"
	"time"
)

// until waits for real processes, which take no more than moments.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestComponentRunsUntilStoppedAndStartsAgainWhenItEnds(t *testing.T) {
	reaper := newReaper()
	log := filepath.Join(t.TempDir(), "log")

	steady := newComponent("steady", "/bin/sleep", log, []string{"sleep", "600"}, reaper)
	if got := steady.Status().State; got != Pending {
		t.Errorf("before the start: %s", got)
	}
	steady.Start()
	steady.Start() // no second process
	until(t, "running", func() bool { return steady.Status().State == Running })
	first := steady.Status().PID
	steady.Stop()
	steady.Stop()
	if got := steady.Status(); got.State != Stopped || got.LastExit != "SIGTERM" || got.PID != 0 || got.Restarts != 0 {
		t.Errorf("stopped: %+v", got)
	}
	steady.Start()
	until(t, "running again", func() bool { s := steady.Status(); return s.State == Running && s.PID != first })
	steady.Stop()

	failing := newComponent("failing", "/bin/sh", log, []string{"sh", "-c", "exit 7"}, reaper)
	failing.Start()
	until(t, "started again", func() bool { return failing.Status().Restarts >= 2 })
	failing.Stop()
	if got := failing.Status(); got.State != Stopped || got.LastExit != "exit code 7" {
		t.Errorf("failing: %+v", got)
	}

	absent := newComponent("absent", "/nonexistent", log, []string{"absent"}, reaper)
	absent.Start()
	until(t, "reported", func() bool { return absent.Status().LastExit == "start absent: no such file or directory" })
	absent.Stop()
}
