package command

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/spf13/cobra"

	"ironsail.dev/node/internal/kube"
)

func loadCommand(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "load <archive.tar>...",
		Short: "Import image archives (docker or OCI) into the node",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, archives []string) error {
			c, _, err := f.running()
			if err != nil {
				return err
			}
			for _, archive := range archives {
				path, argv, err := kube.ImportCommand(c, archive)
				if err != nil {
					return err
				}
				ctr := exec.CommandContext(cmd.Context(), path, argv[1:]...)
				ctr.Stdout, ctr.Stderr = cmd.OutOrStdout(), os.Stderr
				if err := ctr.Run(); err != nil {
					return fmt.Errorf("import %s: %w", archive, err)
				}
			}
			return nil
		},
	}
}
