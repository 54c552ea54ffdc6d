// Package component runs the programs that are linked into this binary: the Kubernetes components, etcd and kubectl.
//
// Each of them is meant to own its process (flags, feature gates and metrics are process-wide), so exactly one runs per process.
package component

import (
	"context"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client request metrics of every component
	_ "k8s.io/component-base/metrics/prometheus/version"  // kubernetes_build_info
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	kubeproxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

// Main runs a program with its arguments (the first one is its name) and returns the exit code.
type Main func(args []string) int

// Lookup returns the program of that name.
func Lookup(name string) (Main, bool) {
	switch name {
	case "etcd":
		return etcdMain, true
	case "kube-apiserver":
		return serve(apiserver.NewAPIServerCommand), true
	case "kube-controller-manager":
		return serve(controllermanager.NewControllerManagerCommand), true
	case "kube-scheduler":
		return serve(func() *cobra.Command { return scheduler.NewSchedulerCommand() }), true
	case "kubelet":
		return serve(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }), true
	case "kube-proxy":
		return serve(kubeproxy.NewProxyCommand), true
	case "kubectl":
		return kubectlMain, true
	}
	return nil, false
}

// serve makes a Main of a command constructor, which is called only here because it registers process-wide state.
func serve(newCommand func() *cobra.Command) Main {
	return func(args []string) int {
		os.Args = args // some components read it again
		return cli.Run(newCommand())
	}
}

func kubectlMain(args []string) int {
	os.Args = args
	command := kubectlcmd.NewDefaultKubectlCommandWithArgs(kubectlcmd.KubectlOptions{
		PluginHandler: kubectlcmd.NewDefaultPluginHandler([]string{"kubectl"}),
		Arguments:     args,
		IOStreams:     genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr},
	})
	if err := cli.RunNoErrOutput(command); err != nil {
		kubectlutil.CheckErr(err)
		return 1
	}
	return 0
}
