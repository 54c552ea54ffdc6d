// Package node makes what a node consists of around its programs: the root file system, the network link and the cgroups.
//
// The node is a set of kernel namespaces (mount, network, process, host name, IPC) whose first process is the supervisor. When that process
// ends, in whatever way, the kernel ends the others and takes mounts and network with them; only cgroups and files remain to be removed.
package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"ironsail.dev/node/internal/cluster"
)

// Folders of the host that the node sees: programs, libraries and devices.
var hostFolders = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/dev"}

// Where Debian's containernetworking-plugins puts the plugins.
const cniPlugins = "/usr/lib/cni"

// Folders that the node has for itself, on disk.
var ownFolders = []string{"/etc/cni/net.d", "/opt/cni/bin", "/root", "/home", "/run", "/proc", "/sys", "/var/cache", "/var/lib", "/var/log", "/var/tmp"}

// EnterRootfs builds the root file system and makes it the root of this process's mount namespace, which must not be the host's.
// The node shares programs and devices with the host and nothing else, apart from the cluster's state folder.
func EnterRootfs(c cluster.Cluster) error {
	// Nothing that happens here may show on the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root := c.Rootfs()
	if err := createFolders(c, root); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	if err := unix.Mount(root, root, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount root file system: %w", err)
	}
	if err := mountHostFolders(root); err != nil {
		return err
	}
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}{
		{c.StateDir, c.StateDir, "", unix.MS_BIND, ""},
		{"proc", "/proc", "proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"sysfs", "/sys", "sysfs", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, ""},
		{"/sys/fs/cgroup", "/sys/fs/cgroup", "", unix.MS_BIND | unix.MS_REC, ""},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=755"},
	} {
		if err := unix.Mount(m.source, root+m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return pivot(root)
}

func createFolders(c cluster.Cluster, root string) error {
	for _, folder := range append(ownFolders, c.StateDir) {
		if err := os.MkdirAll(root+folder, 0o755); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(root+"/tmp", 0o777); err != nil {
		return err
	}
	if err := os.Chmod(root+"/tmp", 0o777|os.ModeSticky); err != nil {
		return err
	}
	for name, target := range map[string]string{"/var/run": "/run", "/var/lock": "/run/lock", "/etc/mtab": "/proc/self/mounts"} {
		if err := os.Symlink(target, root+name); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for name, content := range map[string]string{
		"/etc/hosts":       fmt.Sprintf("127.0.0.1 localhost\n%s %s\n", c.NodeIP(), c.NodeName()),
		"/etc/hostname":    c.NodeName() + "\n",
		"/etc/resolv.conf": "# The node has no name server: it has no route out.\n",
		"/etc/passwd":      "root:x:0:0:root:/root:/bin/sh\n",
		"/etc/group":       "root:x:0:\n",
		"/etc/os-release":  "ID=ironsail-node\nPRETTY_NAME=\"Ironsail test node\"\n",
	} {
		if err := os.WriteFile(root+name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return linkPlugins(root)
}

// linkPlugins links the CNI plugins one by one, so that pods may add their own beside them.
func linkPlugins(root string) error {
	plugins, err := os.ReadDir(cniPlugins)
	if err != nil {
		return fmt.Errorf("CNI plugins (Debian package containernetworking-plugins): %w", err)
	}
	for _, plugin := range plugins {
		link := filepath.Join(root, "/opt/cni/bin", plugin.Name())
		if err := os.Symlink(filepath.Join(cniPlugins, plugin.Name()), link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

func mountHostFolders(root string) error {
	for _, folder := range hostFolders {
		info, err := os.Lstat(folder)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.Mode()&os.ModeSymlink != 0 {
			target, err := os.Readlink(folder)
			if err != nil {
				return err
			}
			if err := os.Symlink(target, root+folder); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
			continue
		}
		if err := os.MkdirAll(root+folder, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(folder, root+folder, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", folder, err)
		}
	}
	return nil
}

func pivot(root string) error {
	const former = "/.host"
	if err := os.MkdirAll(root+former, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(root, root+former); err != nil {
		return fmt.Errorf("change root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount(former, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	if err := os.Remove(former); err != nil {
		return err
	}
	// The kubelet passes mounts between pods and node in both directions where a pod asks for it.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return nil
}

// Namespaces are the clone flags of the supervisor.
const Namespaces = syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC
