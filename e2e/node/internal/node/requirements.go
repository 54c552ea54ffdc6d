package node

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// Programs of the host that the node uses, with the Debian package of each.
var required = []struct{ program, debianPackage string }{
	{"containerd", "containerd"},
	{"containerd-shim-runc-v2", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{cniPlugins + "/ptp", "containernetworking-plugins"},
	{"nft", "nftables"},
	{"mount", "mount"},
}

// CheckPrograms fails with the packages that are not installed.
func CheckPrograms() error {
	var missing []string
	for _, r := range required {
		if _, err := exec.LookPath(r.program); err != nil {
			missing = append(missing, r.debianPackage)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	return fmt.Errorf("not installed: apt-get install --no-install-recommends %s", strings.Join(slices.Compact(missing), " "))
}
