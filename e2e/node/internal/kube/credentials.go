// Package kube holds what is particular to Kubernetes: credentials, configuration and command lines of its programs, and the objects that every cluster has.
package kube

import (
	"fmt"
	"net"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/pki"
)

// Base names of keys and certificates.
const (
	caFile               = "ca"
	apiServerFile        = "kube-apiserver"
	kubeletClientFile    = "kube-apiserver-kubelet-client"
	kubeletServerFile    = "kubelet"
	frontProxyCAFile     = "front-proxy-ca"
	frontProxyClientFile = "front-proxy-client"
	serviceAccountFile   = "service-account"
)

// frontProxyUser is whom aggregated API servers trust to say who asks.
const frontProxyUser = "front-proxy-client"

// administrators may do everything; the group is built into the API server.
const administrators = "system:masters"

func certificate(c cluster.Cluster, name string) string { return c.PKI(name + ".crt") }
func key(c cluster.Cluster, name string) string         { return c.PKI(name + ".key") }
func kubeconfig(c cluster.Cluster, name string) string  { return c.Config(name + ".kubeconfig") }

// WriteCredentials makes every key, certificate and kubeconfig of the cluster.
func WriteCredentials(c cluster.Cluster) error {
	authority, root, err := pki.NewAuthority("kubernetes")
	if err != nil {
		return err
	}
	frontProxy, frontProxyRoot, err := pki.NewAuthority("front-proxy-ca")
	if err != nil {
		return err
	}
	issue := []struct {
		name  string
		issue func() (pki.Pair, error)
	}{
		{caFile, func() (pki.Pair, error) { return root, nil }},
		{frontProxyCAFile, func() (pki.Pair, error) { return frontProxyRoot, nil }},
		{frontProxyClientFile, func() (pki.Pair, error) { return frontProxy.Client(frontProxyUser) }},
		{kubeletClientFile, func() (pki.Pair, error) { return authority.Client("kube-apiserver-kubelet-client", administrators) }},
		{apiServerFile, func() (pki.Pair, error) {
			names := []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + cluster.Domain, "localhost", c.NodeName()}
			return authority.Server("kube-apiserver", names, []net.IP{net.IPv4(127, 0, 0, 1), cluster.ServiceIP.AsSlice(), c.NodeIP().AsSlice()})
		}},
		{kubeletServerFile, func() (pki.Pair, error) {
			return authority.Server(c.NodeName(), []string{c.NodeName()}, []net.IP{c.NodeIP().AsSlice()})
		}},
	}
	for _, i := range issue {
		pair, err := i.issue()
		if err != nil {
			return err
		}
		if err := pair.Write(certificate(c, i.name), key(c, i.name)); err != nil {
			return err
		}
	}
	if err := writeServiceAccountKey(c); err != nil {
		return err
	}
	return writeKubeconfigs(c, authority, root.Certificate)
}

func writeServiceAccountKey(c cluster.Cluster) error {
	private, public, err := pki.ServiceAccountKey()
	if err != nil {
		return err
	}
	if err := os.WriteFile(key(c, serviceAccountFile), private, 0o600); err != nil {
		return err
	}
	return os.WriteFile(serviceAccountPublicKey(c), public, 0o644)
}

func serviceAccountPublicKey(c cluster.Cluster) string {
	return c.PKI(serviceAccountFile + ".pub")
}

func writeKubeconfigs(c cluster.Cluster, authority *pki.Authority, root []byte) error {
	for _, client := range []struct {
		file, user string
		groups     []string
	}{
		{c.Kubeconfig(), "kubernetes-admin", []string{administrators}},
		{kubeconfig(c, ControllerManager), "system:kube-controller-manager", nil},
		{kubeconfig(c, Scheduler), "system:kube-scheduler", nil},
		{kubeconfig(c, KubeProxy), "system:kube-proxy", nil},
		{kubeconfig(c, Kubelet), "system:node:" + c.NodeName(), []string{"system:nodes"}},
	} {
		pair, err := authority.Client(client.user, client.groups...)
		if err != nil {
			return err
		}
		config := clientcmdapi.NewConfig()
		config.Clusters[c.Name] = &clientcmdapi.Cluster{Server: c.Server(), CertificateAuthorityData: root}
		config.AuthInfos[client.user] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.Certificate, ClientKeyData: pair.Key}
		config.Contexts[c.Name] = &clientcmdapi.Context{Cluster: c.Name, AuthInfo: client.user}
		config.CurrentContext = c.Name
		if err := clientcmd.WriteToFile(*config, client.file); err != nil {
			return fmt.Errorf("kubeconfig of %s: %w", client.user, err)
		}
	}
	return nil
}
