package template

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// Programs of this repository; make template-test builds and names them.
const (
	operatorVariable = "IRONSAIL_OPERATOR"
	injectVariable   = "IRONSAIL_INJECT"
)

func program(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if path == "" {
		t.Fatalf("%s names no program: run make template-test", variable)
	}
	return path
}

func run(t *testing.T, path string, input any, args ...string) ([]byte, error) {
	t.Helper()
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	// A reader of YAML takes it for the end of a line.
	text = bytes.ReplaceAll(text, []byte("\u0085"), []byte(`\u0085`))
	command := exec.CommandContext(t.Context(), path, args...)
	command.Stdin = bytes.NewReader(text)
	out, err := command.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = errors.New(string(exit.Stderr))
	}
	return out, err
}

type fields = map[string]any

// render gives what the operator installs for a spec; the images are the peer's.
func render(t *testing.T, spec fields) (*installation, map[string]string) {
	t.Helper()
	full := fields{"hub": "registry.istio.io/testing", "tag": "latest"}
	mergeInto(full, spec)
	manifest, err := run(t, program(t, operatorVariable), fields{"kind": "IstioOperator", "spec": full}, "render", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	maps := configMaps(t, manifest)
	revision, _ := full["revision"].(string)
	suffix := ""
	if revision != "" {
		suffix = "-" + revision
	}
	injector := maps["istio-sidecar-injector"+suffix]
	result := &installation{Mesh: maps["istio"+suffix]["mesh"], Revision: "default"}
	if revision != "" {
		result.Revision = revision
	}
	if err := sigsyaml.Unmarshal([]byte(injector["config"]), &result.Config); err != nil {
		t.Fatal(err)
	}
	if err := sigsyaml.Unmarshal([]byte(injector["values"]), &result.Values); err != nil {
		t.Fatal(err)
	}
	return result, injector
}

func configMaps(t *testing.T, manifest []byte) map[string]map[string]string {
	t.Helper()
	maps := map[string]map[string]string{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		object := corev1.ConfigMap{}
		raw := json.RawMessage{}
		if err := decoder.Decode(&raw); err != nil {
			break
		}
		if err := json.Unmarshal(raw, &object); err == nil && object.Kind == "ConfigMap" {
			maps[object.Name] = object.Data
		}
	}
	if len(maps) == 0 {
		t.Fatal("no ConfigMap was rendered")
	}
	return maps
}

func podOf(t *testing.T, value any) *corev1.Pod {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(text, pod); err != nil {
		t.Fatal(err)
	}
	return pod
}
