package template

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// references is the folder with injections that were captured from the peer.
func references(t *testing.T) string {
	t.Helper()
	root := os.Getenv("IRONSAIL_REFERENCE")
	for _, beside := range []string{"../../../shared/reference", "../../../../shared/reference"} {
		if root == "" {
			if _, err := os.Stat(beside); err == nil {
				root = beside
			}
		}
	}
	folder := filepath.Join(root, "inject")
	if _, err := os.Stat(folder); err != nil || root == "" {
		t.Skip("no captured injections; IRONSAIL_REFERENCE names the folder of captures")
	}
	return folder
}

func read(t *testing.T, folder, name string) fields {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Fatal(err)
	}
	value := fields{}
	if err := yaml.Unmarshal([]byte(strings.TrimSuffix(strings.TrimSpace(string(text)), "---")), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// ofDeployment is the pod that a Deployment's ReplicaSet creates.
func ofDeployment(deployment fields) fields {
	metadata := deployment["metadata"].(fields)
	pod := deployment["spec"].(fields)["template"].(fields)
	mergeInto(pod, fields{"metadata": fields{
		"namespace":    metadata["namespace"],
		"generateName": metadata["name"].(string) + "-abc-",
		"labels":       fields{"pod-template-hash": "abc"},
		"ownerReferences": []any{fields{
			"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": metadata["name"].(string) + "-abc", "controller": true,
		}},
	}})
	return pod
}

// The templates give the pods that were captured from the peer.
func TestCapturedInjections(t *testing.T) {
	folder := references(t)
	installed, _ := render(t, nil)
	for _, name := range []string{"sidecar", "sidecar-annotations", "gateway"} {
		t.Run(name, func(t *testing.T) {
			before := ofDeployment(read(t, folder, name+".yaml"))
			after := ofDeployment(read(t, folder, name+".injected.yaml"))
			checkInjection(t, installed, before, after, false)
		})
	}
	for _, name := range []string{"native-sidecar", "native-sidecar-annotations", "native-gateway"} {
		t.Run(name, func(t *testing.T) {
			before, after := read(t, folder, name+".pod.yaml"), read(t, folder, name+".injected.yaml")
			checkInjection(t, installed, before, after, true)
		})
	}
}

func checkInjection(t *testing.T, installed *installation, before, after fields, native bool) {
	t.Helper()
	result, err := installed.inject(podOf(t, before), native)
	if err != nil {
		t.Fatal(err)
	}
	equalPods(t, result, after)
}
