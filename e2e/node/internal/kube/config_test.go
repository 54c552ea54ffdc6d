package kube

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/client-go/tools/clientcmd"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"ironsail.dev/node/internal/cluster"
)

// written is a cluster whose files have been written.
func written(t *testing.T) cluster.Cluster {
	t.Helper()
	c, err := cluster.New("", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"pki", "config", "rootfs/etc/cni/net.d"} {
		if err := os.MkdirAll(c.Path(folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := WriteCredentials(c); err != nil {
		t.Fatal(err)
	}
	if err := WriteConfig(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestConfigurationHasOnlyFieldsThatExist(t *testing.T) {
	c := written(t)
	kubelet := &kubeletv1beta1.KubeletConfiguration{}
	for file, into := range map[string]any{
		"kubelet.yaml":      kubelet,
		"kube-proxy.yaml":   &kubeproxyv1alpha1.KubeProxyConfiguration{},
		"audit-policy.yaml": &auditv1.Policy{},
	} {
		content, err := os.ReadFile(c.Config(file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(content, into); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if got := kubelet.ClusterDNS; len(got) != 1 || got[0] != cluster.DNSIP.String() {
		t.Errorf("clusterDNS %v", got)
	}
	if _, err := os.Stat(kubelet.TLSCertFile); err != nil {
		t.Error(err)
	}
	content, err := os.ReadFile(filepath.Join(c.Rootfs(), "etc/cni/net.d/10-ironsail.conflist"))
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(content) {
		t.Errorf("CNI configuration: %s", content)
	}
}

func TestKubeconfigsLoadAndKeysAreSecret(t *testing.T) {
	c := written(t)
	for _, file := range []string{c.Kubeconfig(), kubeconfig(c, Kubelet), kubeconfig(c, Scheduler), kubeconfig(c, ControllerManager), kubeconfig(c, KubeProxy)} {
		config, err := clientcmd.BuildConfigFromFlags("", file)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if config.Host != c.Server() {
			t.Errorf("%s: server %s", file, config.Host)
		}
	}
	secrets, err := filepath.Glob(c.PKI("*.key"))
	if err != nil || len(secrets) == 0 {
		t.Fatalf("keys: %v %v", secrets, err)
	}
	for _, file := range append(secrets, c.Kubeconfig()) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %o", file, info.Mode().Perm())
		}
	}
}

func TestCoreDNSObjectsDecode(t *testing.T) {
	objects, err := coreDNSObjects()
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 6 {
		t.Errorf("%d objects", len(objects))
	}
}
