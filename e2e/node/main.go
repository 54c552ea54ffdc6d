// Command ironsail-node runs a Kubernetes of one node on this machine: for the demo and for the end-to-end tests.
//
// It is one binary with several programs in it: the command line, the supervisor of the node, and the programs that the supervisor starts
// (the Kubernetes components and etcd), chosen by the name the binary is called by or by its first argument.
package main

import (
	"os"
	"path/filepath"

	"ironsail.dev/node/internal/command"
	"ironsail.dev/node/internal/component"
)

func main() {
	for i := range min(2, len(os.Args)) {
		name := filepath.Base(os.Args[i])
		if name == "kubectl" {
			command.UseKubeconfig()
		}
		if run, ok := component.Lookup(name); ok {
			// Process listings show the program instead of the link it was started by.
			_ = os.WriteFile("/proc/self/comm", []byte(name), 0o644)
			os.Exit(run(os.Args[i:]))
		}
	}
	os.Exit(command.Main())
}
