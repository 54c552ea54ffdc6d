package supervisor

import (
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// How long a program may take to end after SIGTERM. The API server stops listening at once, and would then wait a minute for watches.
	stopGrace = 3 * time.Second
	// Pause before a program that ended by itself is started again: doubled each time up to the larger one.
	minBackoff = 250 * time.Millisecond
	maxBackoff = 10 * time.Second
	// A program that ran this long starts with the small pause again.
	steady = 30 * time.Second
)

// State says what a component does.
type State string

const (
	// Pending: its turn has not come yet.
	Pending State = "Pending"
	// Running: it runs.
	Running State = "Running"
	// Restarting: it ended by itself and will be started again.
	Restarting State = "Restarting"
	// Stopped: a user stopped it.
	Stopped State = "Stopped"
)

// ComponentStatus is what a component does at one moment.
type ComponentStatus struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// PID in the node's process namespace; 0 when it does not run.
	PID int `json:"pid,omitempty"`
	// Since when it has been in this state.
	Since time.Time `json:"since"`
	// Restarts counts the times it ended by itself.
	Restarts int `json:"restarts"`
	// LastExit says how it ended the last time.
	LastExit string `json:"lastExit,omitempty"`
}

// component keeps one program running.
type component struct {
	name, path, log string
	argv            []string
	reaper          *reaper

	mu      sync.Mutex
	status  ComponentStatus
	stop    chan struct{} // closed to end the current run; nil while none is wanted
	stopped chan struct{} // closed when the current run has ended
}

func newComponent(name, path, log string, argv []string, r *reaper) *component {
	return &component{name: name, path: path, log: log, argv: argv, reaper: r,
		status: ComponentStatus{Name: name, State: Pending, Since: time.Now()}}
}

// Start starts it; nothing happens when it is started already.
func (c *component) Start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stop != nil {
		return
	}
	c.stop, c.stopped = make(chan struct{}), make(chan struct{})
	go c.keepRunning(c.stop, c.stopped)
}

// Stop ends it and waits for its end; nothing happens when it is stopped already.
func (c *component) Stop() {
	c.mu.Lock()
	stop, stopped := c.stop, c.stopped
	c.stop = nil
	c.mu.Unlock()
	if stop == nil {
		return
	}
	close(stop)
	<-stopped
}

// Status returns a copy.
func (c *component) Status() ComponentStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *component) set(change func(*ComponentStatus)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.status)
	c.status.Since = time.Now()
}

func (c *component) keepRunning(stop <-chan struct{}, stopped chan<- struct{}) {
	defer close(stopped)
	backoff := minBackoff
	for {
		began := time.Now()
		exit, wanted := c.runOnce(stop)
		if wanted {
			c.set(func(s *ComponentStatus) { s.State, s.PID, s.LastExit = Stopped, 0, exit })
			return
		}
		if time.Since(began) > steady {
			backoff = minBackoff
		}
		fmt.Fprintf(os.Stderr, "%s: %s; starting it again in %s\n", c.name, exit, backoff)
		c.set(func(s *ComponentStatus) { s.State, s.PID, s.LastExit, s.Restarts = Restarting, 0, exit, s.Restarts+1 })
		select {
		case <-stop:
			c.set(func(s *ComponentStatus) { s.State = Stopped })
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// runOnce runs the program until it ends, and says how it ended and whether that was asked for.
func (c *component) runOnce(stop <-chan struct{}) (exit string, wanted bool) {
	log, err := os.OpenFile(c.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err.Error(), false
	}
	defer log.Close()
	pid, exited, err := c.reaper.start(c.path, c.argv, log)
	if err != nil {
		return err.Error(), false
	}
	c.set(func(s *ComponentStatus) { s.State, s.PID = Running, pid })
	select {
	case status := <-exited:
		return describe(status), false
	case <-stop:
	}
	_ = syscall.Kill(pid, syscall.SIGTERM) // it may have ended just now
	select {
	case status := <-exited:
		return describe(status), true
	case <-time.After(stopGrace):
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
	return describe(<-exited), true
}
