package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ironsail.dev/node/internal/cluster"
)

const cgroupMount = "/sys/fs/cgroup"

// hierarchies lists where cgroups are mounted: one folder with cgroup v2, one per controller with v1.
func hierarchies() ([]string, error) {
	var info unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &info); err != nil {
		return nil, fmt.Errorf("%s: %w", cgroupMount, err)
	}
	if info.Type == unix.CGROUP2_SUPER_MAGIC {
		return []string{cgroupMount}, nil
	}
	entries, err := os.ReadDir(cgroupMount)
	if err != nil {
		return nil, err
	}
	var folders []string
	for _, entry := range entries {
		if entry.IsDir() { // links name the same hierarchy again
			folders = append(folders, filepath.Join(cgroupMount, entry.Name()))
		}
	}
	return folders, nil
}

// CreateCgroups makes the cgroup below which the kubelet puts pods.
func CreateCgroups(c cluster.Cluster) error {
	folders, err := hierarchies()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		group := filepath.Join(folder, c.CgroupRoot())
		if err := os.MkdirAll(group, 0o755); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		// With v1 a new cpuset is empty and takes no process until it is filled.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if value, err := os.ReadFile(filepath.Join(folder, file)); err == nil {
				if err := os.WriteFile(filepath.Join(group, file), value, 0o644); err != nil {
					return fmt.Errorf("cgroup: %w", err)
				}
			}
		}
	}
	return nil
}

// RemoveCgroups removes that cgroup and those below it. Processes that have just been killed may take a moment to leave; it waits for them until the deadline.
func RemoveCgroups(c cluster.Cluster, deadline time.Time) error {
	folders, err := hierarchies()
	if err != nil {
		return err
	}
	for _, folder := range folders {
		group := filepath.Join(folder, c.CgroupRoot())
		for {
			err := removeTree(group)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
				return fmt.Errorf("remove cgroup: %w", err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func removeTree(group string) error {
	var folders []string
	err := filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && entry.IsDir() {
			folders = append(folders, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, folder := range slices.Backward(folders) {
		if err := unix.Rmdir(folder); err != nil && !errors.Is(err, unix.ENOENT) {
			return &fs.PathError{Op: "rmdir", Path: folder, Err: err}
		}
	}
	return nil
}
