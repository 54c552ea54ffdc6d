package template

import (
	"reflect"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Texts that would become structure if they were written into YAML as they are.
var hostile = []string{
	"x\"\n  - name: evil\n    image: evil",
	"x\n  hostNetwork: true",
	"x', \"}, {name: evil, image: evil}, {name: \"",
	"{{ .Values }}",
	"*a &b !!binary",
	"\u2028x\u0085y\tz",
}

// Annotations whose values are written into pods as they are.
var written = []string{
	"sidecar.istio.io/proxyImage", "sidecar.istio.io/proxyImageType", "sidecar.istio.io/interceptionMode",
	"sidecar.istio.io/logLevel", "sidecar.istio.io/componentLogLevel", "sidecar.istio.io/agentLogLevel",
	"sidecar.istio.io/bootstrapOverride", "status.sidecar.istio.io/port", "k8s.v1.cni.cncf.io/networks",
	"traffic.sidecar.istio.io/includeOutboundIPRanges", "traffic.sidecar.istio.io/excludeOutboundIPRanges",
	"traffic.sidecar.istio.io/includeInboundPorts", "traffic.sidecar.istio.io/excludeInboundPorts",
	"traffic.sidecar.istio.io/includeOutboundPorts", "traffic.sidecar.istio.io/excludeOutboundPorts",
	"traffic.sidecar.istio.io/excludeInterfaces", "traffic.sidecar.istio.io/kubevirtInterfaces",
	"istio.io/reroute-virtual-interfaces", "sidecar.istio.io/nativeSidecar",
}

// Text in annotations, labels and names changes values in the pod, never what there is.
func TestTextsNeverBecomeStructure(t *testing.T) {
	installed, _ := render(t, fields{
		"components": fields{"cni": fields{"enabled": true}},
		"values":     fields{"pilot": fields{"cni": fields{"provider": "multus"}}},
	})
	for _, template := range []string{"sidecar", "gateway", "grpc-agent", "grpc-simple"} {
		t.Run(template, func(t *testing.T) {
			for _, text := range hostile {
				harmless, evil := hostilePod(template, "x"), hostilePod(template, text)
				want, got := shapeOf(t, installed, harmless), shapeOf(t, installed, evil)
				if !reflect.DeepEqual(want, got) {
					t.Errorf("%q makes\n%s\nof\n%s", text, shown(got), shown(want))
				}
			}
		})
	}
}

func hostilePod(template, text string) *corev1.Pod {
	annotations := map[string]string{"inject.istio.io/templates": template}
	for _, name := range written {
		annotations[name] = text
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: text, Namespace: text, Annotations: annotations,
			Labels: map[string]string{
				"app": text, "version": text, "service.istio.io/workload-name": text, "security.istio.io/tlsMode": text,
			},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: text,
			Containers:         []corev1.Container{{Name: text, Ports: []corev1.ContainerPort{{Name: text, ContainerPort: 1}}}},
		},
	}
}

// shapeOf names everything that a template adds, without texts that follow the pod's.
func shapeOf(t *testing.T, installed *installation, pod *corev1.Pod) []string {
	t.Helper()
	result, err := installed.inject(pod, true)
	if err != nil {
		t.Fatal(err)
	}
	shape := []string{}
	spec := result.Template.Spec
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		name := container.Name
		if name == pod.Spec.Containers[0].Name {
			name = "the pod's own"
		}
		shape = append(shape, "container "+name)
		for _, variable := range container.Env {
			shape = append(shape, name+": variable "+variable.Name)
		}
		for _, mount := range container.VolumeMounts {
			shape = append(shape, name+": mount "+mount.Name)
		}
		if container.SecurityContext != nil {
			shape = append(shape, shown(container.SecurityContext))
		}
	}
	for _, volume := range spec.Volumes {
		shape = append(shape, "volume "+volume.Name)
	}
	for key := range result.Template.Annotations {
		shape = append(shape, "annotation "+key)
	}
	for key := range result.Template.Labels {
		shape = append(shape, "label "+key)
	}
	if spec.HostNetwork || spec.HostPID {
		shape = append(shape, "host")
	}
	slices.Sort(shape)
	return shape
}

// An annotation that should hold a document and doesn't refuses the pod.
func TestMalformedDocumentsAreRefused(t *testing.T) {
	installed, _ := render(t, nil)
	for _, annotation := range []string{"sidecar.istio.io/userVolume", "sidecar.istio.io/userVolumeMount"} {
		for _, text := range []string{"{", "[1]", `{"a": 1}`, `"x"`} {
			pod := hostilePod("sidecar", "x")
			pod.Annotations[annotation] = text
			if result, err := installed.inject(pod, false); err == nil {
				t.Errorf("%s=%s gives\n%s", annotation, text, shown(result.Template.Spec.Volumes))
			}
		}
	}
}
