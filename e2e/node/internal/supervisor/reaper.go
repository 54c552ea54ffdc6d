// Package supervisor is the first process of the node: it starts the programs, starts them again when they end, and takes commands over a Unix socket.
package supervisor

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaper starts processes and collects the exit status of every child, also of those that were reparented to this process because it is
// the first of its process namespace. For that reason nothing else in this process may start or wait for processes.
type reaper struct {
	mu       sync.Mutex
	children map[int]chan<- syscall.WaitStatus
}

// newReaper starts to collect.
func newReaper() *reaper {
	r := &reaper{children: map[int]chan<- syscall.WaitStatus{}}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			r.collect()
		}
	}()
	return r
}

func (r *reaper) collect() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		r.mu.Lock()
		exited := r.children[pid]
		delete(r.children, pid)
		r.mu.Unlock()
		if exited != nil {
			exited <- status // buffered, written once
		}
	}
}

// start starts a program in its own process group and returns its pid and where its exit status will come.
func (r *reaper) start(path string, argv []string, output *os.File) (int, <-chan syscall.WaitStatus, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer null.Close()
	// Held over the fork, so that a child that ends at once finds its entry.
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Dir:   "/",
		Env:   os.Environ(),
		Files: []uintptr{null.Fd(), output.Fd(), output.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	exited := make(chan syscall.WaitStatus, 1)
	r.children[pid] = exited
	return pid, exited, nil
}

// run runs a program to its end.
func (r *reaper) run(path string, argv []string, output *os.File) error {
	_, exited, err := r.start(path, argv, output)
	if err != nil {
		return err
	}
	if status := <-exited; status != 0 {
		return fmt.Errorf("%s: %s", argv[0], describe(status))
	}
	return nil
}

func describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return unix.SignalName(status.Signal())
	}
	return fmt.Sprintf("exit code %d", status.ExitStatus())
}
