package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// rendered are all objects that the operator installs for a spec, by kind and name.
func rendered(t *testing.T, spec fields) map[string]fields {
	t.Helper()
	full := fields{"hub": "docker.io/istio", "tag": "1.32.0"}
	mergeInto(full, spec)
	manifest, err := run(t, program(t, operatorVariable), fields{"kind": "IstioOperator", "spec": full}, "render", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]fields{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		object := fields{}
		if err := decoder.Decode(&object); err != nil {
			return found
		}
		found[fmt.Sprintf("%s %s", object["kind"], object["metadata"].(fields)["name"])] = object
	}
}

// A setting below k8s, and what it is laid over as a patch.
type setting struct {
	name, k8s, object, patch string
	kind                     any
}

// In a patch, %s stands for the setting's value.
const (
	podPatch       = `{"spec": {"template": {"spec": {%q: %s}}}}`
	containerPatch = `{"spec": {"template": {"spec": {"containers": [{"name": "discovery", %q: %s}]}}}}`
)

// Settings are laid over objects as Kubernetes' own strategic merge does it.
func TestSettingsAreStrategicMerges(t *testing.T) {
	workload := func(name, k8s, value, patch string) setting {
		return setting{name, fmt.Sprintf(`{%q: %s}`, k8s, value), "Deployment istiod", fmt.Sprintf(patch, k8s, value), appsv1.Deployment{}}
	}
	base := rendered(t, nil)
	for _, c := range []setting{
		workload("a new variable", "env", `[{"name": "NEW", "value": "1"}]`, containerPatch),
		workload("variables, new and old", "env", `[{"name": "CLUSTER_ID", "value": "x"}, {"name": "N1", "value": "1"}, {"name": "REVISION", "value": "y"}, {"name": "N2", "value": "2"}]`, containerPatch),
		workload("a variable from elsewhere", "env", `[{"name": "NEW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]`, containerPatch),
		workload("a variable's field", "env", `[{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]`, containerPatch),
		workload("pull policy", "imagePullPolicy", `"Always"`, containerPatch),
		workload("part of a probe", "readinessProbe", `{"periodSeconds": 9, "httpGet": {"path": "/x"}}`, containerPatch),
		workload("memory", "resources", `{"limits": {"memory": "1Gi"}, "requests": {"memory": "7Mi"}}`, containerPatch),
		workload("tolerations", "tolerations", `[{"key": "a"}, {"key": "b", "operator": "Exists"}]`, podPatch),
		workload("no tolerations", "tolerations", `[]`, podPatch),
		workload("nodes", "nodeSelector", `{"a": "b"}`, podPatch),
		workload("priority", "priorityClassName", `"p"`, podPatch),
		workload("security", "securityContext", `{"fsGroup": 1, "sysctls": [{"name": "a", "value": "b"}]}`, podPatch),
		workload("affinity", "affinity", `{"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": {"topologyKey": "z"}}]}}`, podPatch),
		workload("rolling update", "strategy", `{"rollingUpdate": {"maxSurge": 1}}`, `{"spec": {%q: %s}}`),
		{"pod annotations", `{"podAnnotations": {"a": "b", "prometheus.io/port": "1"}}`, "Deployment istiod", `{"spec": {"template": {"metadata": {"annotations": {"a": "b", "prometheus.io/port": "1"}}}}}`, appsv1.Deployment{}},
		{"ports", `{"service": {"ports": [{"port": 15012, "nodePort": 31012}, {"port": 9, "name": "new"}]}}`, "Service istiod", `{"spec": {"ports": [{"port": 15012, "nodePort": 31012}, {"port": 9, "name": "new"}]}}`, corev1.Service{}},
		{"service", `{"service": {"type": "LoadBalancer", "selector": {"a": "b"}, "loadBalancerSourceRanges": ["10.0.0.0/8"]}}`, "Service istiod", `{"spec": {"type": "LoadBalancer", "selector": {"a": "b"}, "loadBalancerSourceRanges": ["10.0.0.0/8"]}}`, corev1.Service{}},
		{"service annotations", `{"serviceAnnotations": {"a": "b"}}`, "Service istiod", `{"metadata": {"annotations": {"a": "b"}}}`, corev1.Service{}},
		{"autoscaler", `{"hpaSpec": {"metrics": [{"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 5}}}], "behavior": {"scaleDown": {"stabilizationWindowSeconds": 3}}}}`, "HorizontalPodAutoscaler istiod", `{"spec": {"metrics": [{"type": "Resource", "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 5}}}], "behavior": {"scaleDown": {"stabilizationWindowSeconds": 3}}}}`, autoscalingv2.HorizontalPodAutoscaler{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := rendered(t, fields{"components": fields{"pilot": fields{"k8s": decoded(t, c.k8s)}}})[c.object]
			before, err := json.Marshal(base[c.object])
			if err != nil {
				t.Fatal(err)
			}
			merged, err := strategicpatch.StrategicMergePatch(before, []byte(c.patch), c.kind)
			if err != nil {
				t.Fatal(err)
			}
			want := fields{}
			if err := json.Unmarshal(merged, &want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the operator gives\n%s\nbut expected is\n%s", shown(difference(got, want)), shown(difference(want, got)))
			}
		})
	}
}
