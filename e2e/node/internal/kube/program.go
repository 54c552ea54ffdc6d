package kube

import (
	"fmt"
	"os"
	"strings"
	"text/template"

	_ "embed"

	"ironsail.dev/node/internal/cluster"
)

// Names of the programs.
const (
	Etcd              = "etcd"
	Containerd        = "containerd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kubelet           = "kubelet"
	KubeProxy         = "kube-proxy"
)

// Program is one program of the node and how it is started.
type Program struct {
	// Name is the component, as status prints it.
	Name string
	// Linked says that the program is part of this binary; otherwise Name is looked up in PATH.
	Linked bool
	// Args are the arguments after the program's name.
	Args []string
}

//go:embed config/audit-policy.yaml
var auditPolicy string

//go:embed config/kubelet.yaml
var kubeletConfig string

//go:embed config/kube-proxy.yaml
var kubeProxyConfig string

//go:embed config/containerd.toml
var containerdConfig string

//go:embed config/cni.conflist
var cniConfig string

// PauseImage and CoreDNSImage are built on the machine and never pulled.
const (
	PauseImage   = "localhost/ironsail/pause:1"
	CoreDNSImage = "localhost/ironsail/coredns:v1.12.4"
)

// settings is what the configuration templates may use.
type settings struct {
	cluster.Cluster
	PauseImage, Domain, Certificate, Key, ClientCA, KubeProxyKubeconfig, PodCIDR, DNSIP string
	KubeletPort, KubeProxyHealthPort, MaxPods                                           int
}

// WriteConfig writes the configuration files of all programs.
func WriteConfig(c cluster.Cluster) error {
	s := settings{
		Cluster:             c,
		PauseImage:          PauseImage,
		Domain:              cluster.Domain,
		Certificate:         certificate(c, kubeletServerFile),
		Key:                 key(c, kubeletServerFile),
		ClientCA:            certificate(c, caFile),
		KubeProxyKubeconfig: kubeconfig(c, KubeProxy),
		PodCIDR:             cluster.PodCIDR.String(),
		DNSIP:               cluster.DNSIP.String(),
		KubeletPort:         cluster.KubeletPort,
		KubeProxyHealthPort: cluster.KubeProxyHealthPort,
		MaxPods:             cluster.MaxPods,
	}
	for file, text := range map[string]string{
		c.Config("audit-policy.yaml"): auditPolicy,
		c.Config("kubelet.yaml"):      kubeletConfig,
		c.Config("kube-proxy.yaml"):   kubeProxyConfig,
		c.Config("containerd.toml"):   containerdConfig,
		// The place where containerd, and programs that chain their own plugin, look for it.
		c.Path("rootfs/etc/cni/net.d/10-ironsail.conflist"): cniConfig,
	} {
		if err := render(file, text, s); err != nil {
			return fmt.Errorf("configuration %s: %w", file, err)
		}
	}
	return nil
}

func render(file, text string, s settings) error {
	parsed, err := template.New("").Option("missingkey=error").Parse(text)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := parsed.Execute(&b, s); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o644)
}

// Programs lists the programs of the node in the order in which they are started.
func Programs(c cluster.Cluster) []Program {
	return []Program{
		{Name: Etcd, Linked: true, Args: []string{"--data-dir=" + c.Path("etcd")}},
		{Name: APIServer, Linked: true, Args: apiServerArgs(c)},
		{Name: Containerd, Args: []string{"--config=" + c.Config("containerd.toml")}},
		{Name: ControllerManager, Linked: true, Args: []string{
			"--kubeconfig=" + kubeconfig(c, ControllerManager),
			"--authentication-kubeconfig=" + kubeconfig(c, ControllerManager),
			"--authorization-kubeconfig=" + kubeconfig(c, ControllerManager),
			"--bind-address=127.0.0.1",
			"--allocate-node-cidrs=true",
			"--cluster-cidr=" + cluster.PodCIDR.String(),
			"--service-cluster-ip-range=" + cluster.ServiceCIDR.String(),
			"--cluster-signing-cert-file=" + certificate(c, caFile),
			"--cluster-signing-key-file=" + key(c, caFile),
			"--root-ca-file=" + certificate(c, caFile),
			"--service-account-private-key-file=" + key(c, serviceAccountFile),
			"--use-service-account-credentials=true",
			"--leader-elect=false",
			// The default of 20 requests per second is what a start would wait for.
			"--kube-api-qps=200",
			"--kube-api-burst=400",
			// There is no other node to go to: a kubelet that is late, because the machine is busy or the API
			// server was away, must not take all pods out of their Services.
			"--node-monitor-grace-period=200s",
		}},
		{Name: Scheduler, Linked: true, Args: []string{
			"--kubeconfig=" + kubeconfig(c, Scheduler),
			"--authentication-kubeconfig=" + kubeconfig(c, Scheduler),
			"--authorization-kubeconfig=" + kubeconfig(c, Scheduler),
			"--bind-address=127.0.0.1",
			"--leader-elect=false",
		}},
		{Name: Kubelet, Linked: true, Args: []string{
			"--config=" + c.Config("kubelet.yaml"),
			"--kubeconfig=" + kubeconfig(c, Kubelet),
			"--hostname-override=" + c.NodeName(),
			"--node-ip=" + c.NodeIP().String(),
		}},
		{Name: KubeProxy, Linked: true, Args: []string{"--config=" + c.Config("kube-proxy.yaml")}},
	}
}

func apiServerArgs(c cluster.Cluster) []string {
	return []string{
		"--advertise-address=" + c.NodeIP().String(),
		fmt.Sprintf("--secure-port=%d", cluster.APIServerPort),
		"--etcd-servers=http://127.0.0.1:2379",
		"--service-cluster-ip-range=" + cluster.ServiceCIDR.String(),
		"--allow-privileged=true",
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--client-ca-file=" + certificate(c, caFile),
		"--tls-cert-file=" + certificate(c, apiServerFile),
		"--tls-private-key-file=" + key(c, apiServerFile),
		"--kubelet-certificate-authority=" + certificate(c, caFile),
		"--kubelet-client-certificate=" + certificate(c, kubeletClientFile),
		"--kubelet-client-key=" + key(c, kubeletClientFile),
		"--kubelet-preferred-address-types=InternalIP",
		"--proxy-client-cert-file=" + certificate(c, frontProxyClientFile),
		"--proxy-client-key-file=" + key(c, frontProxyClientFile),
		"--requestheader-allowed-names=" + frontProxyUser,
		"--requestheader-client-ca-file=" + certificate(c, frontProxyCAFile),
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--service-account-issuer=https://kubernetes.default.svc." + cluster.Domain,
		"--service-account-key-file=" + serviceAccountPublicKey(c),
		"--service-account-signing-key-file=" + key(c, serviceAccountFile),
		"--audit-policy-file=" + c.Config("audit-policy.yaml"),
		"--audit-log-path=" + c.AuditLog(),
		"--audit-log-maxsize=256",
		"--audit-log-maxbackup=1",
		"--profiling=false",
	}
}
