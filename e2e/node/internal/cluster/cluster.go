// Package cluster says where a cluster keeps its files and which names and addresses it uses. It reads and writes one description file and does nothing else.
package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
)

const (
	// DefaultName is the name of the cluster when none is given.
	DefaultName = "ironsail"
	// APIServerPort is the port of the API server on the node address.
	APIServerPort = 6443
	// KubeletPort is the port of the kubelet on the node address.
	KubeletPort = 10250
	// KubeProxyHealthPort is the port of kube-proxy's health check on the node address.
	KubeProxyHealthPort = 10256
	// NodeInterface is the interface that holds the node address, inside the node's network namespace.
	NodeInterface = "eth0"
	// Domain is the DNS domain of the cluster.
	Domain = "cluster.local"
	// MaxPods is how many pods the kubelet takes; PodCIDR has to be larger.
	MaxPods = 200

	descriptionFile = "cluster.json"
	// Unix socket addresses hold 107 bytes.
	maxSocketPath = 107
)

// Ranges that exist only inside the node's network namespace, so that every cluster can have the same.
var (
	PodCIDR     = netip.MustParsePrefix("10.244.0.0/24")
	ServiceCIDR = netip.MustParsePrefix("10.96.0.0/16")
	// ServiceIP is the address of the Service default/kubernetes.
	ServiceIP = netip.MustParseAddr("10.96.0.1")
	// DNSIP is the address of the Service kube-system/kube-dns.
	DNSIP = netip.MustParseAddr("10.96.0.10")
)

// Cluster describes one cluster.
type Cluster struct {
	// Name is unique on the machine: the host's interface and the cgroups bear it.
	Name string `json:"name"`
	// StateDir holds every file of the cluster; absolute.
	StateDir string `json:"stateDir"`
	// Subnet is the /24 between host and node: .1 host, .2 node, .10 and up addresses of load balancers.
	Subnet netip.Prefix `json:"subnet"`
}

// ErrAbsent is returned by Load where there is no cluster.
var ErrAbsent = errors.New("no cluster here")

var nameShape = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,8}[a-z0-9])?$`)

// New describes the cluster of that name. An empty stateDir means $IRONSAIL_STATE or a folder of that name below the user's cache.
func New(name, stateDir string) (Cluster, error) {
	if name == "" {
		name = DefaultName
	}
	if !nameShape.MatchString(name) {
		return Cluster{}, fmt.Errorf("name %q: want at most 10 lower-case letters, digits and dashes, a letter first", name)
	}
	if stateDir == "" {
		stateDir = os.Getenv("IRONSAIL_STATE")
	}
	if stateDir == "" {
		cache, err := CacheDir()
		if err != nil {
			return Cluster{}, err
		}
		stateDir = filepath.Join(cache, "node")
		if name != DefaultName {
			stateDir += "-" + name
		}
	}
	stateDir, err := filepath.Abs(stateDir)
	if err != nil {
		return Cluster{}, fmt.Errorf("state folder: %w", err)
	}
	c := Cluster{Name: name, StateDir: stateDir, Subnet: subnet(name)}
	for _, socket := range []string{c.ContainerdSocket() + ".ttrpc", c.ControlSocket()} {
		if len(socket) > maxSocketPath {
			return Cluster{}, fmt.Errorf("state folder %s: path too long for a Unix socket (%d bytes, at most %d)", stateDir, len(socket), maxSocketPath)
		}
	}
	return c, nil
}

// CacheDir is $IRONSAIL_CACHE or the folder "ironsail" in the user's cache.
func CacheDir() (string, error) {
	if dir := os.Getenv("IRONSAIL_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("set IRONSAIL_CACHE or HOME: %w", err)
	}
	return filepath.Join(dir, "ironsail"), nil
}

// subnet picks a /24 of the range that RFC 2544 sets aside for benchmarks: a fixed one for the default name, one by hash for others.
func subnet(name string) netip.Prefix {
	addr := [4]byte{198, 18, 77, 0}
	if name != DefaultName {
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(name)) // never fails
		sum := hash.Sum32()
		addr[1] = 18 + byte(sum>>8&1)
		addr[2] = byte(sum)
	}
	return netip.PrefixFrom(netip.AddrFrom4(addr), 24)
}

// Load reads the description below stateDir; ErrAbsent if there is none.
func Load(stateDir string) (Cluster, error) {
	data, err := os.ReadFile(filepath.Join(stateDir, descriptionFile))
	if errors.Is(err, os.ErrNotExist) {
		return Cluster{}, ErrAbsent
	}
	if err != nil {
		return Cluster{}, err
	}
	var c Cluster
	if err := json.Unmarshal(data, &c); err != nil {
		return Cluster{}, fmt.Errorf("%s: %w", filepath.Join(stateDir, descriptionFile), err)
	}
	return c, nil
}

// Save writes the description, which also marks the folder as ours.
func (c Cluster) Save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(c.Path(descriptionFile), append(data, '\n'), 0o644)
}

func (c Cluster) host(n byte) netip.Addr {
	addr := c.Subnet.Addr().As4()
	addr[3] = n
	return netip.AddrFrom4(addr)
}

// HostIP is the host's end of the link.
func (c Cluster) HostIP() netip.Addr { return c.host(1) }

// NodeIP is the address of the node, which the host reaches.
func (c Cluster) NodeIP() netip.Addr { return c.host(2) }

// LoadBalancerIPs are the addresses that Services of type LoadBalancer get, in order of preference. The first is the node's own.
func (c Cluster) LoadBalancerIPs() []netip.Addr {
	ips := []netip.Addr{c.NodeIP()}
	for n := byte(10); n < 250; n++ {
		ips = append(ips, c.host(n))
	}
	return ips
}

// NodeName is the name of the Node object and the host name of the node.
func (c Cluster) NodeName() string { return c.Name + "-node" }

// HostInterface is the host's end of the link; at most 15 bytes.
func (c Cluster) HostInterface() string { return c.Name + "-node" }

// CgroupRoot is the cgroup, in every hierarchy, below which pods run.
func (c Cluster) CgroupRoot() string { return "/" + c.Name + "-node" }

// Server is the URL of the API server.
func (c Cluster) Server() string { return fmt.Sprintf("https://%s:%d", c.NodeIP(), APIServerPort) }

// Path is a path below the state folder.
func (c Cluster) Path(elements ...string) string {
	return filepath.Join(append([]string{c.StateDir}, elements...)...)
}

// Kubeconfig is the administrator's.
func (c Cluster) Kubeconfig() string { return c.Path("kubeconfig") }

// PKI is the folder of keys and certificates.
func (c Cluster) PKI(file string) string { return c.Path("pki", file) }

// Config is the folder of the components' configuration.
func (c Cluster) Config(file string) string { return c.Path("config", file) }

// Log is the log file of a component.
func (c Cluster) Log(component string) string { return c.Path("log", component+".log") }

// AuditLog is the audit log of the API server, one JSON object per line.
func (c Cluster) AuditLog() string { return c.Path("log", "audit.log") }

// ContainerdSocket is the socket of the node's containerd.
func (c Cluster) ContainerdSocket() string { return c.Path("containerd.sock") }

// ControlSocket is the socket on which the supervisor takes commands.
func (c Cluster) ControlSocket() string { return c.Path("control.sock") }

// PIDFile names the supervisor: its process id and its start time.
func (c Cluster) PIDFile() string { return c.Path("supervisor.pid") }

// Rootfs is the node's root file system; what the node has in /var is below it.
func (c Cluster) Rootfs() string { return c.Path("rootfs") }
