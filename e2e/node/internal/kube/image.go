package kube

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"ironsail.dev/node/internal/cluster"
	"ironsail.dev/node/internal/image"
)

// WriteImages writes the archives of the images that every cluster needs. Their programs lie in the folder programs, where the build puts them
// beside the node's own.
func WriteImages(c cluster.Cluster, programs string) error {
	for name, reference := range map[string]string{"pause": PauseImage, "coredns": CoreDNSImage} {
		program := image.Program{Reference: reference, File: filepath.Join(programs, "ironsail-node-"+name), Path: name}
		if err := program.WriteFile(c.Path("images", name+".tar")); err != nil {
			return err
		}
	}
	return nil
}

// ImportCommand is the command that imports an image archive (docker or OCI) into the node's containerd: the program and its arguments with its name.
func ImportCommand(c cluster.Cluster, archive string) (path string, argv []string, err error) {
	path, err = exec.LookPath("ctr")
	if err != nil {
		return "", nil, fmt.Errorf("Debian package containerd: %w", err)
	}
	if _, err := os.Stat(archive); err != nil {
		return "", nil, err
	}
	return path, []string{"ctr", "--address", c.ContainerdSocket(), "--namespace", "k8s.io", "images", "import", archive}, nil
}
