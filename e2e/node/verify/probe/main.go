// Command probe is what the tests of the node run in pods: a server and the clients to look at it, in one static program.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

const timeout = 5 * time.Second

func main() {
	commands := map[string]func(args []string) error{
		"serve":  func([]string) error { return serve() },
		"get":    func(args []string) error { return get(args[0]) },
		"lookup": func(args []string) error { return lookup(args[0]) },
		"dial":   func(args []string) error { return dial(args[0]) },
		"nft":    func([]string) error { return addTable() },
		"id":     func([]string) error { fmt.Println(os.Getuid()); return nil },
	}
	run, ok := commands[os.Args[1]]
	if !ok {
		fmt.Fprintln(os.Stderr, "unknown command", os.Args[1])
		os.Exit(2)
	}
	if err := run(os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// serve answers HTTP on 8080 with the pod's name and the caller's address, and gRPC health checks on 9000, until SIGTERM.
func serve() error {
	listener, err := net.Listen("tcp", ":9000")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	go func() {
		failed <- http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name, _ := os.Hostname()
			fmt.Fprintf(w, "%s saw %s\n", name, r.RemoteAddr)
		}))
	}()
	fmt.Println("serving")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	select {
	case err := <-failed:
		return err
	case <-stop:
		return nil
	}
}

func get(url string) error {
	client := http.Client{Timeout: timeout}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

func lookup(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addrs, " "))
	return nil
}

func dial(address string) error {
	conn, err := net.DialTimeout("tcp", address, timeout)
	if err != nil {
		return err
	}
	return conn.Close()
}

// addTable makes an nf_tables table named "probe" over netlink, which takes CAP_NET_ADMIN.
func addTable() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	name := append([]byte{0, 0, unix.NFTA_TABLE_NAME, 0}, "probe\x00\x00\x00"...)
	binary.NativeEndian.PutUint16(name, 4+uint16(len("probe\x00")))
	const newTable = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE
	batch := message(unix.NFNL_MSG_BATCH_BEGIN, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil)
	batch = append(batch, message(newTable, unix.NLM_F_CREATE|unix.NLM_F_ACK, unix.NFPROTO_INET, 0, name)...)
	batch = append(batch, message(unix.NFNL_MSG_BATCH_END, 0, 0, unix.NFNL_SUBSYS_NFTABLES, nil)...)
	if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return err
	}
	const header = unix.NLMSG_HDRLEN
	if n < header+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return errors.New("netlink: unexpected answer")
	}
	if code := int32(binary.NativeEndian.Uint32(answer[header:])); code != 0 {
		return fmt.Errorf("nf_tables: %w", syscall.Errno(-code))
	}
	fmt.Println("table added")
	return nil
}

// message is one netlink message of the netfilter family.
func message(kind, flags uint16, family byte, resource uint16, attributes []byte) []byte {
	m := make([]byte, unix.NLMSG_HDRLEN+4, unix.NLMSG_HDRLEN+4+len(attributes))
	m = append(m, attributes...)
	binary.NativeEndian.PutUint32(m, uint32(len(m)))
	binary.NativeEndian.PutUint16(m[4:], kind)
	binary.NativeEndian.PutUint16(m[6:], flags|unix.NLM_F_REQUEST)
	m[unix.NLMSG_HDRLEN] = family
	binary.BigEndian.PutUint16(m[unix.NLMSG_HDRLEN+2:], resource)
	return m
}
