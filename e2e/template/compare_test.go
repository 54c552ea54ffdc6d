package template

import (
	"encoding/json"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// equalPods compares what the templates made of a pod with what another injector did.
func equalPods(t *testing.T, ours *injected, theirs any) {
	t.Helper()
	got, err := meaning(ours.Pod)
	if err != nil {
		t.Fatal(err)
	}
	want, err := meaning(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the templates give\n%s\nbut expected is\n%s", shown(difference(got, want)), shown(difference(want, got)))
	}
	equalAdditions(t, ours.Template, theirs)
}

// equalAdditions compares what a template adds, by name and in order, with the record that an injector leaves.
func equalAdditions(t *testing.T, template *corev1.Pod, theirs any) {
	t.Helper()
	type record struct{ InitContainers, Containers, Volumes, ImagePullSecrets []string }
	want, got := record{}, record{}
	status := podOf(t, theirs).Annotations["sidecar.istio.io/status"]
	if err := json.Unmarshal([]byte(status), &want); err != nil {
		t.Fatalf("status %q: %v", status, err)
	}
	for _, container := range template.Spec.InitContainers {
		got.InitContainers = append(got.InitContainers, container.Name)
	}
	for _, container := range template.Spec.Containers {
		got.Containers = append(got.Containers, container.Name)
	}
	for _, volume := range template.Spec.Volumes {
		got.Volumes = append(got.Volumes, volume.Name)
	}
	for _, secret := range template.Spec.ImagePullSecrets {
		got.ImagePullSecrets = append(got.ImagePullSecrets, secret.Name)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the template adds\n%s\nbut expected is\n%s", shown(got), shown(want))
	}
}

// difference keeps of a what b has not.
func difference(a, b any) any {
	left, isMap := a.(map[string]any)
	right, alsoMap := b.(map[string]any)
	if !isMap || !alsoMap {
		return a
	}
	rest := fields{}
	for key, value := range left {
		if !reflect.DeepEqual(value, right[key]) {
			rest[key] = difference(value, right[key])
		}
	}
	return rest
}
