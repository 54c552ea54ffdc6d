package template

import (
	meshv1alpha1 "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// gatewayAPI is what the templates read of a Gateway of the Gateway API.
type gatewayAPI struct {
	metav1.TypeMeta
	metav1.ObjectMeta
	Spec struct{ Addresses []struct{ Value string } }
}

// gatewayData is what istiod gives to the templates that it makes the objects of a Gateway from.
type gatewayData struct {
	*gatewayAPI
	GatewayClass              string
	DeploymentName            string
	ServiceAccount            string
	Ports                     []corev1.ServicePort
	ServiceType               corev1.ServiceType
	ClusterID                 string
	KubeVersion               int
	Revision                  string
	ProxyUID                  int64
	ProxyGID                  int64
	CompliancePolicy          string
	InfrastructureLabels      map[string]string
	InfrastructureAnnotations map[string]string
	GatewayNameLabel          string
	ControllerLabel           string
	ProxyImage                string
	AgentgatewayImage         string
	ProxyConfig               *meshv1alpha1.ProxyConfig
	MeshConfig                *meshv1alpha1.MeshConfig
	Values                    map[string]any
}
