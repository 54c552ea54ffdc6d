package loadbalancer

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"ironsail.dev/node/internal/cluster"
)

func service(name string, age int, ip string, ports ...int32) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "test", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0))},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	for _, port := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: port, Protocol: corev1.ProtocolTCP})
	}
	if ip != "" {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
	}
	return s
}

func TestAssign(t *testing.T) {
	c, err := cluster.New("", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	node, second, third := c.NodeIP().String(), c.LoadBalancerIPs()[1].String(), c.LoadBalancerIPs()[2].String()
	class := "example.org/other"
	classed := service("classed", 9, "", 80)
	classed.Spec.LoadBalancerClass = &class

	for _, test := range []struct {
		name     string
		services []*corev1.Service
		want     []string // by position; empty: none
	}{
		{"the first gets the node's address", []*corev1.Service{service("a", 1, "", 80, 443)}, []string{node}},
		{"other ports share it", []*corev1.Service{service("a", 2, "", 80), service("b", 1, "", 81)}, []string{node, node}},
		{"the same port gets another, the elder first", []*corev1.Service{service("a", 1, "", 80), service("b", 2, "", 80)}, []string{second, node}},
		{"one keeps what it has, also against an elder", []*corev1.Service{service("a", 1, node, 80), service("b", 2, "", 80)}, []string{node, second}},
		{"of two that have the same the elder keeps it", []*corev1.Service{service("a", 1, second, 80), service("b", 2, second, 80)}, []string{node, second}},
		{"ports of the node stay the node's", []*corev1.Service{service("a", 1, "", 80, cluster.APIServerPort)}, []string{second}},
		{"an address outside the pool is replaced", []*corev1.Service{service("a", 1, "203.0.113.7", 80)}, []string{node}},
		{"three on one port", []*corev1.Service{service("a", 3, "", 80), service("b", 2, "", 80), service("c", 1, "", 80)}, []string{node, second, third}},
		{"another controller's are left alone", []*corev1.Service{classed}, []string{""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := assign(c, test.services)
			for i, s := range test.services {
				addr := ""
				if a, ok := got[s]; ok {
					addr = a.String()
				}
				if addr != test.want[i] {
					t.Errorf("%s: got %q, want %q", s.Name, addr, test.want[i])
				}
			}
		})
	}
}
