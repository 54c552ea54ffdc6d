package component

import (
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

// etcdMain runs a one-member etcd. It never calls fsync: the cluster is made anew on each start, so there is nothing to recover.
func etcdMain(args []string) int {
	flags := flag.NewFlagSet(args[0], flag.ExitOnError)
	dataDir := flags.String("data-dir", "", "folder of the store")
	clientURL := flags.String("listen-client-url", "http://127.0.0.1:2379", "URL for clients")
	peerURL := flags.String("listen-peer-url", "http://127.0.0.1:2380", "URL for peers; there are none")
	_ = flags.Parse(args[1:]) // exits on error

	if err := runEtcd(*dataDir, *clientURL, *peerURL); err != nil {
		fmt.Fprintln(os.Stderr, "etcd:", err)
		return 1
	}
	return 0
}

func runEtcd(dataDir, clientURL, peerURL string) error {
	client, err := url.Parse(clientURL)
	if err != nil {
		return fmt.Errorf("--listen-client-url: %w", err)
	}
	peer, err := url.Parse(peerURL)
	if err != nil {
		return fmt.Errorf("--listen-peer-url: %w", err)
	}
	config := embed.NewConfig()
	config.Name = "node"
	config.Dir = dataDir
	config.LogLevel = "warn"
	config.UnsafeNoFsync = true
	config.ListenClientUrls = []url.URL{*client}
	config.AdvertiseClientUrls = []url.URL{*client}
	config.ListenPeerUrls = []url.URL{*peer}
	config.AdvertisePeerUrls = []url.URL{*peer}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	config.QuotaBackendBytes = 2 << 30
	config.AutoCompactionMode = "periodic"
	config.AutoCompactionRetention = "1h"

	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	select {
	case <-stop:
		return nil
	case err := <-server.Err():
		return err
	}
}
