package kube

import (
	"context"
	"fmt"
	"strings"
	"text/template"

	_ "embed"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"

	"ironsail.dev/node/internal/cluster"
)

//go:embed coredns.yaml
var coreDNS string

// coreDNSObjects decodes the objects of the cluster's DNS.
func coreDNSObjects() ([]runtime.Object, error) {
	parsed, err := template.New("coredns").Parse(coreDNS)
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	if err := parsed.Execute(&b, struct{ Domain, DNSIP, CoreDNSImage string }{cluster.Domain, cluster.DNSIP.String(), CoreDNSImage}); err != nil {
		return nil, err
	}
	var objects []runtime.Object
	for _, document := range strings.Split(b.String(), "\n---\n") {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			return nil, fmt.Errorf("coredns.yaml: %w", err)
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// InstallCoreDNS creates the cluster's DNS. What exists already stays as it is.
func InstallCoreDNS(ctx context.Context, client kubernetes.Interface) error {
	objects, err := coreDNSObjects()
	if err != nil {
		return err
	}
	for _, object := range objects {
		if err := create(ctx, client, object); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("CoreDNS: %w", err)
		}
	}
	return nil
}

func create(ctx context.Context, client kubernetes.Interface, object runtime.Object) error {
	var err error
	options := metav1.CreateOptions{}
	switch o := object.(type) {
	case *corev1.ServiceAccount:
		_, err = client.CoreV1().ServiceAccounts(o.Namespace).Create(ctx, o, options)
	case *corev1.ConfigMap:
		_, err = client.CoreV1().ConfigMaps(o.Namespace).Create(ctx, o, options)
	case *corev1.Service:
		_, err = client.CoreV1().Services(o.Namespace).Create(ctx, o, options)
	case *appsv1.Deployment:
		_, err = client.AppsV1().Deployments(o.Namespace).Create(ctx, o, options)
	case *rbacv1.ClusterRole:
		_, err = client.RbacV1().ClusterRoles().Create(ctx, o, options)
	case *rbacv1.ClusterRoleBinding:
		_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, o, options)
	default:
		err = fmt.Errorf("no way to create %T", object)
	}
	return err
}

// Ready says whether the node takes pods and the cluster's DNS answers; nil if so, else the first thing that is missing.
func Ready(ctx context.Context, c cluster.Cluster, client kubernetes.Interface) error {
	if err := APIServerReady(ctx, client); err != nil {
		return err
	}
	if err := NodeReady(ctx, c, client); err != nil {
		return err
	}
	return CoreDNSReady(ctx, client)
}

// APIServerReady asks the API server's own readiness check.
func APIServerReady(ctx context.Context, client kubernetes.Interface) error {
	if _, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	return nil
}

// NodeReady looks at the node's condition.
func NodeReady(ctx context.Context, c cluster.Cluster, client kubernetes.Interface) error {
	node, err := client.CoreV1().Nodes().Get(ctx, c.NodeName(), metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("node: %w", err)
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady && condition.Status != corev1.ConditionTrue {
			return fmt.Errorf("node: not ready: %s", condition.Message)
		}
		if condition.Type == corev1.NodeReady {
			return nil
		}
	}
	return fmt.Errorf("node: not ready: no report yet")
}

// CoreDNSReady looks at the Deployment.
func CoreDNSReady(ctx context.Context, client kubernetes.Interface) error {
	deployment, err := client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("CoreDNS: %w", err)
	}
	if deployment.Status.ReadyReplicas == 0 {
		return fmt.Errorf("CoreDNS: no pod is ready")
	}
	return nil
}
