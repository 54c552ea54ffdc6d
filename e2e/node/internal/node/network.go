package node

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ironsail.dev/node/internal/cluster"
)

// ConnectHost links the host with the network namespace of the process pid. The host gets the route to the node's subnet and no other.
func ConnectHost(c cluster.Cluster, pid int) error {
	if err := checkFree(c.Subnet); err != nil {
		return err
	}
	attributes := netlink.NewLinkAttrs()
	attributes.Name = c.HostInterface()
	link := &netlink.Veth{LinkAttrs: attributes, PeerName: cluster.NodeInterface, PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("add interface %s: %w", attributes.Name, err)
	}
	// The host has no business with the node over IPv6. Kernels without it have no such file.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+attributes.Name+"/disable_ipv6", []byte("1"), 0o644)
	return setUp(link, netip.PrefixFrom(c.HostIP(), c.Subnet.Bits()))
}

// DisconnectHost removes the link, if there is one.
func DisconnectHost(c cluster.Cluster) error {
	link, err := netlink.LinkByName(c.HostInterface())
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", c.HostInterface(), err)
	}
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", c.HostInterface(), err)
	}
	return nil
}

// checkFree fails where the host already has a route into the subnet.
func checkFree(subnet netip.Prefix) error {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("routes of the host: %w", err)
	}
	for _, route := range routes {
		if route.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(route.Dst.IP.To4())
		ones, _ := route.Dst.Mask.Size()
		if ok && ones > 0 && netip.PrefixFrom(addr, ones).Overlaps(subnet) {
			return fmt.Errorf("the host has a route to %s, which overlaps the node's subnet %s: choose another --name", route.Dst, subnet)
		}
	}
	return nil
}

// ConfigureNetwork sets up the node's end. It runs inside the namespace, after ConnectHost.
func ConfigureNetwork(c cluster.Cluster) error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	link, err := netlink.LinkByName(cluster.NodeInterface)
	if err != nil {
		return fmt.Errorf("interface %s: %w", cluster.NodeInterface, err)
	}
	if err := setUp(link, netip.PrefixFrom(c.NodeIP(), c.Subnet.Bits())); err != nil {
		return err
	}
	// A connection from the node to a Service address needs a route before kube-proxy's rules rewrite its destination.
	route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(cluster.ServiceCIDR), Src: c.NodeIP().AsSlice(), Scope: netlink.SCOPE_LINK}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("route to %s: %w", cluster.ServiceCIDR, err)
	}
	for name, value := range map[string]string{
		"ip_forward": "1", // packets of pods
		// There is no way out, and pods shall hear so at once, however often they try.
		"icmp_ratelimit": "0",
	} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0o644); err != nil {
			return fmt.Errorf("sysctl net.ipv4.%s: %w", name, err)
		}
	}
	return nil
}

func setUp(link netlink.Link, addr netip.Prefix) error {
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
		return fmt.Errorf("address %s on %s: %w", addr, link.Attrs().Name, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("interface %s: %w", link.Attrs().Name, err)
	}
	return nil
}

func ipNet(prefix netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(prefix.Bits(), prefix.Addr().BitLen())}
}

// SetAddresses makes the node answer for exactly these addresses beside its own. It runs inside the namespace.
func SetAddresses(c cluster.Cluster, wanted []netip.Addr) error {
	link, err := netlink.LinkByName(cluster.NodeInterface)
	if err != nil {
		return fmt.Errorf("interface %s: %w", cluster.NodeInterface, err)
	}
	present, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", cluster.NodeInterface, err)
	}
	keep := map[netip.Addr]bool{c.NodeIP(): true}
	for _, addr := range wanted {
		keep[addr] = true
	}
	for _, old := range present {
		addr, ok := netip.AddrFromSlice(old.IP.To4())
		if ok && keep[addr] {
			delete(keep, addr)
			continue
		}
		if err := netlink.AddrDel(link, &old); err != nil {
			return fmt.Errorf("remove address %s: %w", addr, err)
		}
	}
	for addr := range keep {
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(addr, addr.BitLen()))}); err != nil {
			return fmt.Errorf("add address %s: %w", addr, err)
		}
	}
	return nil
}
