package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/kube"
	"ironsail.dev/node/internal/loadbalancer"
	"ironsail.dev/node/internal/node"
)

const (
	self = "/proc/self/exe"
	// How long one question about the node's health may take.
	healthTimeout = 3 * time.Second
	// How often a step of the start looks whether it is done.
	pollInterval = 100 * time.Millisecond
)

type supervisor struct {
	cluster    cluster.Cluster
	reaper     *reaper
	started    time.Time
	components []*component
	client     kubernetes.Interface

	mu      sync.Mutex
	stages  []Stage
	failure string
}

// Stages of the start, in order.
const (
	stageAPIServer = "API server ready"
	stageImages    = "images imported"
	stageNode      = "node ready"
	stageDNS       = "CoreDNS ready"
)

// Run is the life of the supervisor: it makes the node, starts the programs and ends on SIGTERM. It has to be the first process of new
// namespaces (node.Namespaces). One byte from connected says that the host's end of the network link is there.
func Run(c cluster.Cluster, connected io.Reader) error {
	if os.Getpid() != 1 {
		return errors.New("the supervisor is started by `up`, in namespaces of its own")
	}
	syscall.CloseOnExec(ConnectedFD)
	syscall.CloseOnExec(nameFD)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)

	if _, err := io.ReadFull(connected, make([]byte, 1)); err != nil {
		return fmt.Errorf("the process that started the supervisor is gone: %w", err)
	}
	if err := prepare(c); err != nil {
		return err
	}
	s, err := newSupervisor(c)
	if err != nil {
		return err
	}
	listener, err := net.Listen("unix", c.ControlSocket())
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s.handler(), ReadHeaderTimeout: healthTimeout}
	go func() { s.fail(server.Serve(listener)) }()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		if err := s.boot(ctx); err != nil {
			s.fail(err)
		}
	}()
	<-stop
	return nil // the kernel ends the other processes of the namespace
}

// prepare makes the node around this process.
func prepare(c cluster.Cluster) error {
	if err := unix.Sethostname([]byte(c.NodeName())); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := node.ConfigureNetwork(c); err != nil {
		return err
	}
	return node.EnterRootfs(c)
}

func newSupervisor(c cluster.Cluster) (*supervisor, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 50, 100
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	s := &supervisor{cluster: c, reaper: newReaper(), started: time.Now(), client: client}
	for _, name := range []string{stageAPIServer, stageImages, stageNode, stageDNS} {
		s.stages = append(s.stages, Stage{Name: name})
	}
	for _, program := range kube.Programs(c) {
		path, argv := self, append([]string{program.Name}, program.Args...)
		if !program.Linked {
			if path, err = exec.LookPath(program.Name); err != nil {
				return nil, err
			}
		}
		s.components = append(s.components, newComponent(program.Name, path, c.Log(program.Name), argv, s.reaper))
	}
	return s, nil
}

func (s *supervisor) fail(err error) {
	fmt.Fprintln(os.Stderr, "supervisor:", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err.Error()
}

func (s *supervisor) done(stage string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.stages {
		if s.stages[i].Name == stage {
			s.stages[i].Seconds = time.Since(s.started).Seconds()
		}
	}
}

func (s *supervisor) component(name string) *component {
	for _, c := range s.components {
		if c.name == name {
			return c
		}
	}
	return nil
}

func (s *supervisor) names() string {
	var names []string
	for _, c := range s.components {
		names = append(names, c.name)
	}
	return strings.Join(names, ", ")
}

func (s *supervisor) start(names ...string) {
	for _, name := range names {
		s.component(name).Start()
	}
}

// boot starts the programs in order, each as soon as what it needs is there, and installs what every cluster has.
func (s *supervisor) boot(ctx context.Context) error {
	s.start(kube.Etcd, kube.APIServer, kube.Containerd)
	images := make(chan error, 1)
	go func() { images <- s.importImages(ctx) }()

	if err := s.wait(ctx, func(ctx context.Context) error { return kube.APIServerReady(ctx, s.client) }); err != nil {
		return err
	}
	s.done(stageAPIServer)
	if err := <-images; err != nil {
		return err
	}
	s.done(stageImages)
	s.start(kube.Kubelet, kube.ControllerManager, kube.Scheduler, kube.KubeProxy)
	go loadbalancer.Run(ctx, s.cluster, s.client)
	if err := kube.InstallCoreDNS(ctx, s.client); err != nil {
		return err
	}
	if err := s.wait(ctx, func(ctx context.Context) error { return kube.NodeReady(ctx, s.cluster, s.client) }); err != nil {
		return err
	}
	s.done(stageNode)
	if err := s.wait(ctx, func(ctx context.Context) error { return kube.CoreDNSReady(ctx, s.client) }); err != nil {
		return err
	}
	s.done(stageDNS)
	return nil
}

// importImages loads the archives that `up` wrote, as soon as containerd takes them.
func (s *supervisor) importImages(ctx context.Context) error {
	reachable := func(ctx context.Context) error {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", s.cluster.ContainerdSocket())
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	if err := s.wait(ctx, reachable); err != nil {
		return err
	}
	archives, err := filepath.Glob(s.cluster.Path("images", "*.tar"))
	if err != nil {
		return err
	}
	for _, archive := range archives {
		path, argv, err := kube.ImportCommand(s.cluster, archive)
		if err != nil {
			return err
		}
		if err := s.reaper.run(path, argv, os.Stderr); err != nil {
			return fmt.Errorf("import %s: %w", archive, err)
		}
	}
	return nil
}

// wait asks until the answer is nil.
func (s *supervisor) wait(ctx context.Context, ready func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, healthTimeout)
		err := ready(attempt)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pollInterval):
		}
	}
}

func (s *supervisor) status(ctx context.Context) Status {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	status := Status{Started: s.started}
	for _, c := range s.components {
		component := c.Status()
		if component.State != Running && status.Problem == "" {
			status.Problem = fmt.Sprintf("%s: %s %s", component.Name, component.State, component.LastExit)
		}
		status.Components = append(status.Components, component)
	}
	if status.Problem == "" {
		if err := kube.Ready(ctx, s.cluster, s.client); err != nil {
			status.Problem = err.Error()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Stages = append(status.Stages, s.stages...)
	status.Failure = s.failure
	return status
}
