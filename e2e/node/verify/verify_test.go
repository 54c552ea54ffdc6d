//go:build node

// Package verify looks at a running node from outside, as a user of it does. Run it with:
//
//	go test -tags node ./verify
//
// It uses the installed ironsail-node (build.sh) and the cluster of the default name, which has to be up, in a namespace of its own.
package verify

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/image"
)

const (
	namespace = "node-verify"
	patience  = 60 * time.Second
)

func program(t *testing.T) string {
	t.Helper()
	cache, err := cluster.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "bin", "ironsail-node")
}

// try runs ironsail-node and returns its standard output.
func try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program(t), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("ironsail-node %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return strings.TrimSpace(string(out)), err
}

func node(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return node(t, append([]string{"kubectl", "--namespace", namespace}, args...)...)
}

// inPod runs the probe in the server's pod.
func inPod(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return try(t, append([]string{"kubectl", "--namespace", namespace, "exec", "server", "--", "/probe"}, args...)...)
}

// eventually repeats what may take a moment to become true.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func fetch(url string) (string, error) {
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return strings.TrimSpace(string(body)), err
}

func loadProbe(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "probe")
	build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", binary, "./probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build probe: %v\n%s", err, out)
	}
	archive := binary + ".tar"
	if err := (image.Program{Reference: "localhost/ironsail/probe:1", File: binary, Path: "probe"}).WriteFile(archive); err != nil {
		t.Fatal(err)
	}
	node(t, "load", archive)
	return binary
}

func TestNode(t *testing.T) {
	node(t, "status")
	probe := loadProbe(t)
	node(t, "kubectl", "create", "namespace", namespace)
	t.Cleanup(func() { node(t, "kubectl", "delete", "namespace", namespace, "--wait=true", "--timeout=60s") })
	kubectl(t, "apply", "-f", "pods.yaml")
	kubectl(t, "wait", "--for=condition=Ready", "pod/server", "--timeout=60s")

	t.Run("a pod finds a Service by name and calls it, itself behind it", func(t *testing.T) {
		for _, name := range []string{"web", "web." + namespace + ".svc.cluster.local"} {
			eventually(t, name, func() error {
				out, err := inPod(t, "get", "http://"+name+"/")
				if err == nil && !strings.HasPrefix(out, "server saw ") {
					err = fmt.Errorf("answer %q", out)
				}
				return err
			})
		}
	})
	t.Run("a name outside the cluster does not exist", func(t *testing.T) {
		if out, err := inPod(t, "lookup", "example.org"); err == nil || !strings.Contains(err.Error(), "no such host") {
			t.Errorf("%s %v", out, err)
		}
	})
	t.Run("there is no way out", func(t *testing.T) {
		if _, err := inPod(t, "dial", "203.0.113.1:80"); err == nil || !strings.Contains(err.Error(), "unreachable") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("logs", func(t *testing.T) {
		if out := kubectl(t, "logs", "server", "-c", "server"); out != "serving" {
			t.Errorf("log %q", out)
		}
		if out := kubectl(t, "logs", "server", "-c", "rules"); out != "table added" {
			t.Errorf("log of the init container %q", out)
		}
	})
	t.Run("a container runs as the user it asks for", func(t *testing.T) {
		if out, err := inPod(t, "id"); err != nil || out != "1337" {
			t.Errorf("%s %v", out, err)
		}
	})
	t.Run("without NET_ADMIN there are no rules", func(t *testing.T) {
		kubectl(t, "wait", "--for=condition=Failed", "job/powerless", "--timeout=60s")
		if out := kubectl(t, "logs", "job/powerless"); !strings.Contains(out, "operation not permitted") {
			t.Errorf("log %q", out)
		}
	})
	t.Run("a Job with a sidecar ends", func(t *testing.T) {
		kubectl(t, "wait", "--for=condition=Complete", "job/sidecar", "--timeout=60s")
	})
	t.Run("the host reaches load balancers, also two with one port", func(t *testing.T) {
		addresses := map[string]bool{}
		for _, service := range []string{"balanced", "balanced-too"} {
			eventually(t, service, func() error {
				address := kubectl(t, "get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[0].ip}")
				if address == "" {
					return fmt.Errorf("no address")
				}
				addresses[address] = true
				_, err := fetch("http://" + address + ":8088/")
				return err
			})
		}
		if len(addresses) != 2 || !addresses[node(t, "node-ip")] {
			t.Errorf("addresses %v", addresses)
		}
	})
	t.Run("the host reaches node ports", func(t *testing.T) {
		port := kubectl(t, "get", "service", "balanced", "-o", "jsonpath={.spec.ports[0].nodePort}")
		eventually(t, port, func() error {
			_, err := fetch("http://" + node(t, "node-ip") + ":" + port + "/")
			return err
		})
	})
	t.Run("the node reaches Services, as the API server does for webhooks", func(t *testing.T) {
		address := kubectl(t, "get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")
		out, err := exec.Command("nsenter", "--net="+node(t, "netns"), probe, "get", "http://"+address+"/").CombinedOutput()
		if err != nil {
			t.Errorf("%v %s", err, out)
		}
	})
	t.Run("port-forward", testPortForward)
	t.Run("tokens for an audience are good for that audience only", testTokens)
	t.Run("audit log", testAudit)
	t.Run("pods outlive a restart of what runs them", func(t *testing.T) {
		node(t, "restart", "containerd", "kubelet", "kube-proxy")
		node(t, "up")
		eventually(t, "exec", func() error {
			_, err := inPod(t, "get", "http://web/")
			return err
		})
		restarts := kubectl(t, "get", "pod", "server", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
		if restarts != "0" {
			t.Errorf("%s restarts", restarts)
		}
	})
	t.Run("a component can be stopped and started", func(t *testing.T) {
		node(t, "stop", "kube-scheduler")
		if out, err := try(t, "status"); err == nil {
			t.Errorf("status is healthy with a stopped component:\n%s", out)
		}
		node(t, "start", "kube-scheduler")
		node(t, "up")
		node(t, "restart", "kube-apiserver")
		node(t, "up")
		if out, err := inPod(t, "id"); err != nil || out != "1337" {
			t.Errorf("after the restart: %s %v", out, err)
		}
	})
}

func testPortForward(t *testing.T) {
	cmd := exec.Command(program(t), "kubectl", "--namespace", namespace, "port-forward", "pod/server", ":8080", "--address=127.0.0.1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(line) // Forwarding from 127.0.0.1:40001 -> 8080
	if len(fields) < 3 {
		t.Fatalf("port-forward says %q", line)
	}
	if body, err := fetch("http://" + fields[2] + "/"); err != nil || !strings.HasPrefix(body, "server saw 127.0.0.1") {
		t.Errorf("%s %v", body, err)
	}
}

func testTokens(t *testing.T) {
	token := kubectl(t, "create", "token", "default", "--audience=istio-ca")
	review := func(audience string) (authenticated bool, user string) {
		manifest := filepath.Join(t.TempDir(), "review.json")
		content := fmt.Sprintf(`{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":%q,"audiences":[%q]}}`, token, audience)
		if err := os.WriteFile(manifest, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Status struct {
				Authenticated bool
				User          struct{ Username string }
			}
		}
		if err := json.Unmarshal([]byte(kubectl(t, "create", "-f", manifest, "-o", "json")), &answer); err != nil {
			t.Fatal(err)
		}
		return answer.Status.Authenticated, answer.Status.User.Username
	}
	if ok, user := review("istio-ca"); !ok || user != "system:serviceaccount:"+namespace+":default" {
		t.Errorf("audience istio-ca: %v %s", ok, user)
	}
	if ok, _ := review("other"); ok {
		t.Error("the token is good for another audience")
	}
}

func testAudit(t *testing.T) {
	kubectl(t, "create", "configmap", "dry", "--dry-run=server")
	kubectl(t, "create", "configmap", "wet")
	content, err := os.ReadFile(node(t, "audit-log"))
	if err != nil {
		t.Fatal(err)
	}
	type event struct {
		Verb, RequestURI string
		User             struct{ Username string }
		ObjectRef        struct{ Resource, Namespace, Name string }
		ResponseStatus   struct{ Code int }
	}
	seen := map[string]event{}
	for line := range bytes.Lines(content) {
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatal(err)
		}
		if e.Verb == "get" || e.Verb == "list" || e.Verb == "watch" {
			t.Fatalf("a read is logged: %s", line)
		}
		if e.ObjectRef.Namespace == namespace && e.ObjectRef.Resource == "configmaps" && e.User.Username == "kubernetes-admin" {
			seen[e.ObjectRef.Name] = e
		}
	}
	if e := seen["wet"]; e.Verb != "create" || e.ResponseStatus.Code != http.StatusCreated || strings.Contains(e.RequestURI, "dryRun") {
		t.Errorf("write: %+v", e)
	}
	if e := seen["dry"]; e.Verb != "create" || !strings.Contains(e.RequestURI, "dryRun=All") {
		t.Errorf("dry run: %+v", e)
	}
}
