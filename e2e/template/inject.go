// Package template executes the templates of ConfigMap istio-sidecar-injector as stock istiod does: with the same data and
// functions, and the same merge over the pod.
package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

const proxyContainer = "istio-proxy"

// installation is what an operator rendered, as istiod reads it.
type installation struct {
	Config struct {
		DefaultTemplates []string          `json:"defaultTemplates"`
		Templates        map[string]string `json:"templates"`
	}
	Values   map[string]any
	Mesh     string
	Revision string
}

// podData is what istiod gives to templates of pods.
type podData struct {
	TypeMeta                 metav1.TypeMeta
	DeploymentMeta           types.NamespacedName
	ObjectMeta               metav1.ObjectMeta
	Spec                     corev1.PodSpec
	ProxyConfig              *meshv1alpha1.ProxyConfig
	MeshConfig               *meshv1alpha1.MeshConfig
	Values                   map[string]any
	Revision                 string
	NativeSidecars           bool
	ProxyImage               string
	ProxyUID                 int64
	ProxyGID                 int64
	InboundTrafficPolicyMode string
	CompliancePolicy         string
}

// injected is a pod with a template laid over it, and what the template alone says.
type injected struct {
	Pod      *corev1.Pod
	Template *corev1.Pod
}

// inject lays the pod's templates over it; what the pod itself says about injected containers wins.
func (i *installation) inject(pod *corev1.Pod, native bool) (*injected, error) {
	data, err := i.data(pod, native)
	if err != nil {
		return nil, err
	}
	result := &injected{Pod: pod.DeepCopy(), Template: &corev1.Pod{}}
	for _, name := range i.templatesOf(pod) {
		text, err := i.execute(name, data)
		if err != nil {
			return nil, err
		}
		if err := yaml.UnmarshalStrict(text, &corev1.Pod{}); err != nil {
			return nil, fmt.Errorf("template %s: %w\n%s", name, err, text)
		}
		overlay, err := yaml.YAMLToJSON(text)
		if err != nil {
			return nil, err
		}
		if result.Template, err = overlaid(result.Template, overlay); err != nil {
			return nil, err
		}
		moveProxy(result.Pod, result.Template)
		if result.Pod, err = overlaid(result.Pod, overlay); err != nil {
			return nil, err
		}
	}
	result.Pod, err = reapplied(result.Pod, pod, result.Template)
	return result, err
}

func (i *installation) templatesOf(pod *corev1.Pod) []string {
	asked, found := pod.Annotations["inject.istio.io/templates"]
	if !found {
		return i.Config.DefaultTemplates
	}
	names := strings.Split(asked, ",")
	for index := range names {
		names[index] = strings.TrimSpace(names[index])
	}
	return names
}

func (i *installation) execute(name string, data any) ([]byte, error) {
	text, found := i.Config.Templates[name]
	if !found {
		return nil, fmt.Errorf("there is no template %q", name)
	}
	parsed, err := parse(name, text)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = parsed.Execute(&out, data)
	return out.Bytes(), err
}

func (i *installation) data(pod *corev1.Pod, native bool) (*podData, error) {
	own := map[string]any{}
	if err := yaml.Unmarshal([]byte(pod.Annotations["proxy.istio.io/config"]), &own); err != nil {
		return nil, err
	}
	over, err := json.Marshal(map[string]any{"defaultConfig": own})
	if err != nil {
		return nil, err
	}
	mesh, err := meshConfig(i.Mesh, string(over))
	if err != nil {
		return nil, err
	}
	owner, kind := workload(pod)
	return &podData{
		TypeMeta:                 kind,
		DeploymentMeta:           owner,
		ObjectMeta:               pod.ObjectMeta,
		Spec:                     pod.Spec,
		ProxyConfig:              mesh.DefaultConfig,
		MeshConfig:               mesh,
		Values:                   i.Values,
		Revision:                 i.Revision,
		NativeSidecars:           native,
		ProxyImage:               i.proxyImage(pod, mesh.DefaultConfig),
		ProxyUID:                 1337,
		ProxyGID:                 1337,
		InboundTrafficPolicyMode: strings.ToLower(mesh.InboundTrafficPolicy.Mode.String()),
	}, nil
}

func (i *installation) proxyImage(pod *corev1.Pod, config *meshv1alpha1.ProxyConfig) string {
	global := i.Values["global"].(map[string]any)
	kind := config.GetImage().GetImageType()
	if asked, found := pod.Annotations["sidecar.istio.io/proxyImageType"]; found {
		kind = asked
	}
	tag := fmt.Sprint(global["tag"])
	if kind != "" {
		tag = strings.TrimSuffix(strings.TrimSuffix(tag, "-debug"), "-distroless")
		if kind != "default" {
			tag += "-" + kind
		}
	}
	name := global["proxy"].(map[string]any)["image"]
	return fmt.Sprintf("%s/%s:%s", global["hub"], name, tag)
}

// workload sees through a ReplicaSet to its Deployment.
func workload(pod *corev1.Pod) (types.NamespacedName, metav1.TypeMeta) {
	owner := types.NamespacedName{Name: pod.Name, Namespace: pod.Namespace}
	kind := metav1.TypeMeta{Kind: "Pod", APIVersion: "v1"}
	controller := metav1.GetControllerOf(pod)
	if controller == nil || pod.GenerateName == "" {
		return owner, kind
	}
	owner.Name, kind.Kind, kind.APIVersion = controller.Name, controller.Kind, controller.APIVersion
	hash := "-" + pod.Labels["pod-template-hash"]
	if kind.Kind == "ReplicaSet" && strings.HasSuffix(owner.Name, hash) {
		owner.Name, kind.Kind = strings.TrimSuffix(owner.Name, hash), "Deployment"
	}
	return owner, kind
}

func overlaid(pod *corev1.Pod, overlay []byte) (*corev1.Pod, error) {
	current, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	merged, err := strategicpatch.StrategicMergePatch(current, overlay, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	result := &corev1.Pod{}
	return result, json.Unmarshal(merged, result)
}

// moveProxy puts the pod's own settings of the proxy where a template of native sidecars has it.
func moveProxy(pod, template *corev1.Pod) {
	if find(template.Spec.InitContainers, proxyContainer) == nil {
		return
	}
	kept := pod.Spec.Containers[:0:0]
	for _, container := range pod.Spec.Containers {
		if container.Name == proxyContainer {
			pod.Spec.InitContainers = append(pod.Spec.InitContainers, container)
		} else {
			kept = append(kept, container)
		}
	}
	pod.Spec.Containers = kept
}

// reapplied lays what the pod said about injected containers over the result; image auto leaves the choice.
func reapplied(pod, before, template *corev1.Pod) (*corev1.Pod, error) {
	own := append(append([]corev1.Container{}, before.Spec.Containers...), before.Spec.InitContainers...)
	overlay := corev1.Pod{}
	for _, container := range own {
		if container.Image == "auto" {
			container.Image = ""
		}
		if find(template.Spec.Containers, container.Name) != nil {
			overlay.Spec.Containers = append(overlay.Spec.Containers, container)
		}
		if find(template.Spec.InitContainers, container.Name) != nil {
			overlay.Spec.InitContainers = append(overlay.Spec.InitContainers, container)
		}
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return nil, err
	}
	document := map[string]any{}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, err
	}
	if text, err = json.Marshal(withoutEmpty(document)); err != nil {
		return nil, err
	}
	return overlaid(pod, text)
}

func find(containers []corev1.Container, name string) *corev1.Container {
	for index := range containers {
		if containers[index].Name == name {
			return &containers[index]
		}
	}
	return nil
}

// withoutEmpty drops nulls, empty texts and empty maps, with which a patch would take away.
func withoutEmpty(value any) any {
	fields, is := value.(map[string]any)
	if !is {
		if items, are := value.([]any); are {
			for index := range items {
				items[index] = withoutEmpty(items[index])
			}
		}
		return value
	}
	for key, field := range fields {
		fields[key] = withoutEmpty(field)
		below, isMap := fields[key].(map[string]any)
		if field == nil || field == "" || isMap && len(below) == 0 {
			delete(fields, key)
		}
	}
	return fields
}
