// Package loadbalancer gives Services of type LoadBalancer their address. kube-proxy does the rest: it takes what comes for that address.
package loadbalancer

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"ironsail.dev/node/internal/cluster"
)

type endpoint struct {
	addr     netip.Addr
	protocol corev1.Protocol
	port     int32
}

// reserved are ports of the node address that belong to the node.
func reserved(c cluster.Cluster) map[endpoint]bool {
	taken := map[endpoint]bool{}
	for _, port := range []int32{cluster.APIServerPort, cluster.KubeletPort, cluster.KubeProxyHealthPort} {
		taken[endpoint{c.NodeIP(), corev1.ProtocolTCP, port}] = true
	}
	return taken
}

// wants says whether a Service is ours to serve: those with a class have another controller.
func wants(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer && service.Spec.LoadBalancerClass == nil && service.DeletionTimestamp == nil
}

// current is the address in the Service's status, if it has exactly one.
func current(service *corev1.Service) (netip.Addr, bool) {
	ingress := service.Status.LoadBalancer.Ingress
	if len(ingress) != 1 {
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(ingress[0].IP)
	return addr, err == nil
}

// assign chooses an address for every Service that wants one. A Service keeps what it has; a new one gets the first address on which all its
// ports are free, which is the node's own until two Services want the same port. A Service for which none is left is not in the result.
func assign(c cluster.Cluster, services []*corev1.Service) map[*corev1.Service]netip.Addr {
	pool := c.LoadBalancerIPs()
	taken := reserved(c)
	free := func(service *corev1.Service, addr netip.Addr) bool {
		return !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool {
			return taken[endpoint{addr, p.Protocol, p.Port}]
		})
	}
	assigned := map[*corev1.Service]netip.Addr{}
	take := func(service *corev1.Service, addr netip.Addr) {
		for _, p := range service.Spec.Ports {
			taken[endpoint{addr, p.Protocol, p.Port}] = true
		}
		assigned[service] = addr
	}

	ordered := slices.DeleteFunc(slices.Clone(services), func(s *corev1.Service) bool { return !wants(s) })
	slices.SortFunc(ordered, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	for _, service := range ordered {
		if addr, ok := current(service); ok && slices.Contains(pool, addr) && free(service, addr) {
			take(service, addr)
		}
	}
	for _, service := range ordered {
		if _, ok := assigned[service]; ok {
			continue
		}
		for _, addr := range pool {
			if free(service, addr) {
				take(service, addr)
				break
			}
		}
	}
	return assigned
}
