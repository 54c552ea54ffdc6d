package template

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the reviewed results anew")

// Controllers of the classes, as istiod names them.
var controllers = map[string]string{
	"kube-gateway": "istio.io-gateway-controller", "waypoint": "istio.io-mesh-controller",
	"agentgateway": "istio.io-agentgateway-controller", "agentgateway-waypoint": "istio.io-agentgateway-waypoint-controller",
}

func gatewayOf(t *testing.T, installed *installation, template string) *gatewayData {
	t.Helper()
	mesh, err := meshConfig(installed.Mesh)
	if err != nil {
		t.Fatal(err)
	}
	http := "http"
	gateway := &gatewayAPI{ObjectMeta: metav1.ObjectMeta{Name: "edge", Namespace: "shop", UID: "7"}}
	return &gatewayData{
		gatewayAPI:       gateway,
		GatewayClass:     "istio",
		DeploymentName:   "edge-istio",
		ServiceAccount:   "edge-istio",
		Ports:            []corev1.ServicePort{{Name: "status-port", Port: 15021}, {Name: "web", Port: 80, AppProtocol: &http}},
		ServiceType:      corev1.ServiceTypeLoadBalancer,
		ClusterID:        "Kubernetes",
		KubeVersion:      134,
		Revision:         installed.Revision,
		ProxyUID:         1337,
		ProxyGID:         1337,
		GatewayNameLabel: "gateway.networking.k8s.io/gateway-name",
		ControllerLabel:  controllers[template],
		InfrastructureLabels: map[string]string{
			"team": "a", "topology.istio.io/network": "n1",
		},
		InfrastructureAnnotations: map[string]string{
			"note": "b: {c}", "kubectl.kubernetes.io/last-applied-configuration": "{}",
		},
		ProxyImage:        "registry.istio.io/testing/proxyv2:latest",
		AgentgatewayImage: "registry.istio.io/testing/agentgateway:latest",
		ProxyConfig:       mesh.DefaultConfig,
		MeshConfig:        mesh,
		Values:            installed.Values,
	}
}

// objects are the documents of a template's result, each read as its kind without anything unknown in it.
func objects(t *testing.T, text []byte) map[string]any {
	t.Helper()
	found := map[string]any{}
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		kind := metav1.TypeMeta{}
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		object, known := map[string]any{
			"Deployment": &appsv1.Deployment{}, "Service": &corev1.Service{}, "ServiceAccount": &corev1.ServiceAccount{},
			"HorizontalPodAutoscaler": &autoscalingv2.HorizontalPodAutoscaler{}, "PodDisruptionBudget": &policyv1.PodDisruptionBudget{},
		}[kind.Kind]
		if !known {
			t.Fatalf("kind %q\n%s", kind.Kind, document)
		}
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		found[kind.Kind] = object
	}
	return found
}

// The objects of Gateways are those that were reviewed.
func TestGatewayObjects(t *testing.T) {
	installed, _ := render(t, nil)
	for template := range controllers {
		t.Run(template, func(t *testing.T) {
			text, err := installed.execute(template, gatewayOf(t, installed, template))
			if err != nil {
				t.Fatal(err)
			}
			found := objects(t, text)
			if len(found) != 5 {
				t.Fatalf("%d objects", len(found))
			}
			golden(t, template, found)
		})
	}
}

// golden compares with a reviewed result; go test -update writes it.
func golden(t *testing.T, name string, value any) {
	t.Helper()
	path := filepath.Join("testdata", name+".yaml")
	got := shown(value)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not as reviewed; it would be\n%s", path, got)
	}
}

// What a Gateway and the installation ask for reaches the objects.
func TestGatewaySettings(t *testing.T) {
	installed, _ := render(t, fields{
		"revision": "canary",
		"values": fields{
			"global": fields{
				"imagePullSecrets": []any{"regcred"},
				"platform":         "openshift",
				"waypoint": fields{
					"nodeSelector": fields{"a": "b"},
					"resources":    fields{"limits": fields{"cpu": nil}},
				},
			},
			"gateways": fields{"seccompProfile": fields{"type": "RuntimeDefault"}},
		},
	})
	for template := range controllers {
		t.Run(template, func(t *testing.T) {
			data := gatewayOf(t, installed, template)
			data.Spec.Addresses = []struct{ Value string }{{Value: "10.0.0.1"}}
			data.KubeVersion = 127
			text, err := installed.execute(template, data)
			if err != nil {
				t.Fatal(err)
			}
			found := objects(t, text)
			if address := found["Service"].(*corev1.Service).Spec.LoadBalancerIP; address != "10.0.0.1" {
				t.Errorf("address %q", address)
			}
			if owners := found["ServiceAccount"].(*corev1.ServiceAccount).OwnerReferences; owners != nil {
				t.Errorf("owners %v", owners)
			}
			pod := found["Deployment"].(*appsv1.Deployment).Spec.Template
			if pod.Annotations["istio.io/rev"] != "canary" || pod.Spec.ImagePullSecrets[0].Name != "regcred" {
				t.Errorf("pod %s", shown(pod))
			}
			if strings.HasSuffix(template, "waypoint") {
				container := pod.Spec.Containers[0]
				if _, limited := container.Resources.Limits["cpu"]; limited || container.SecurityContext.SeccompProfile == nil {
					t.Errorf("container %s", shown(container))
				}
			}
			if template == "waypoint" && (pod.Spec.NodeSelector["a"] != "b" || pod.Spec.Containers[0].SecurityContext.RunAsUser != nil) {
				t.Errorf("pod %s", shown(pod))
			}
		})
	}
}

// Each template is executed by some test.
func TestEveryTemplateIsTested(t *testing.T) {
	installed, _ := render(t, nil)
	tested := []string{"sidecar", "gateway", "grpc-simple", "grpc-agent"}
	for template := range controllers {
		tested = append(tested, template)
	}
	for name := range installed.Config.Templates {
		if !slices.Contains(tested, name) {
			t.Errorf("template %s has no test", name)
		}
	}
	if len(installed.Config.Templates) != len(tested) {
		t.Errorf("%d templates", len(installed.Config.Templates))
	}
}
