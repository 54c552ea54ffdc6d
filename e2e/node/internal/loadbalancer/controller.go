package loadbalancer

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/node"
)

// How long after a failure it is tried again.
const retryDelay = time.Second

// Run serves until ctx ends. It runs inside the node's network namespace, because it also adds the addresses to the node.
func Run(ctx context.Context, c cluster.Cluster, client kubernetes.Interface) {
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services()
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default: // one is enough: every pass looks at all Services
		}
	}
	_, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	})
	if err != nil {
		report(err)
		return
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		if err := reconcile(ctx, c, client, services.Lister()); err != nil {
			report(err)
			time.AfterFunc(retryDelay, notify)
		}
	}
}

func report(err error) { fmt.Fprintln(os.Stderr, "load balancer:", err) }

func reconcile(ctx context.Context, c cluster.Cluster, client kubernetes.Interface, lister listers.ServiceLister) error {
	services, err := lister.List(labels.Everything())
	if err != nil {
		return err
	}
	assigned := assign(c, services)
	addrs := make([]netip.Addr, 0, len(assigned))
	for _, addr := range assigned {
		addrs = append(addrs, addr)
	}
	if err := node.SetAddresses(c, addrs); err != nil {
		return err
	}
	for _, service := range services {
		if !wants(service) {
			continue
		}
		addr, ok := assigned[service]
		if had, has := current(service); !ok || (has && had == addr) {
			continue
		}
		if err := publish(ctx, client, service.DeepCopy(), addr); err != nil {
			return fmt.Errorf("service %s/%s: %w", service.Namespace, service.Name, err)
		}
	}
	return nil
}

func publish(ctx context.Context, client kubernetes.Interface, service *corev1.Service, addr netip.Addr) error {
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: addr.String()}}
	_, err := client.CoreV1().Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
