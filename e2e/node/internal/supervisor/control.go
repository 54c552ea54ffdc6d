package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"ironsail.dev/node/internal/cluster"
)

// Stage is one step of the start.
type Stage struct {
	Name string `json:"name"`
	// Seconds after the start of the supervisor; 0 while it is not reached.
	Seconds float64 `json:"seconds,omitempty"`
}

// Status is what the supervisor says about the node.
type Status struct {
	Started    time.Time         `json:"started"`
	Stages     []Stage           `json:"stages"`
	Components []ComponentStatus `json:"components"`
	// Problem is the first thing that keeps the node from being healthy; empty if it is.
	Problem string `json:"problem,omitempty"`
	// Failure is why the start was given up; empty if it was not.
	Failure string `json:"failure,omitempty"`
}

// Client talks to the supervisor of a cluster.
type Client struct{ http http.Client }

// NewClient makes a client. It connects on use.
func NewClient(c cluster.Cluster) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", c.ControlSocket())
	}
	return &Client{http: http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Status asks for the status of the node.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var status Status
	body, err := c.do(ctx, http.MethodGet, "/status")
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(body, &status)
}

// Verb is what can be done to a component.
type Verb string

// What can be done to a component.
const (
	Start   Verb = "start"
	Stop    Verb = "stop"
	Restart Verb = "restart"
)

// Do does it and returns when it is done: a stopped program has ended, a started one has been started.
func (c *Client) Do(ctx context.Context, verb Verb, component string) error {
	_, err := c.do(ctx, http.MethodPost, "/"+string(verb)+"/"+component)
	return err
}

func (c *Client) do(ctx context.Context, method, path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("supervisor: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", bytes.TrimSpace(body))
	}
	return body, nil
}

// handler serves what Client asks for.
func (s *supervisor) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s.status(r.Context())) // the client is gone
	})
	verbs := map[Verb]func(*component){
		Start:   (*component).Start,
		Stop:    (*component).Stop,
		Restart: func(c *component) { c.Stop(); c.Start() },
	}
	for verb, do := range verbs {
		mux.HandleFunc("POST /"+string(verb)+"/{component}", func(w http.ResponseWriter, r *http.Request) {
			c := s.component(r.PathValue("component"))
			if c == nil {
				http.Error(w, fmt.Sprintf("no component %q; there are: %s", r.PathValue("component"), s.names()), http.StatusNotFound)
				return
			}
			do(c)
		})
	}
	return mux
}
