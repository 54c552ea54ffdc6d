package pki

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"testing"
)

func parse(t *testing.T, pair Pair) *x509.Certificate {
	t.Helper()
	if _, err := tls.X509KeyPair(pair.Certificate, pair.Key); err != nil {
		t.Fatalf("certificate and key don't belong together: %v", err)
	}
	block, _ := pem.Decode(pair.Certificate)
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

func TestCertificatesVerifyAgainstTheirAuthorityForTheirUseOnly(t *testing.T) {
	authority, root, err := NewAuthority("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root.Certificate)

	client, err := authority.Client("admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	clientCertificate := parse(t, client)
	if got := clientCertificate.Subject; got.CommonName != "admin" || len(got.Organization) != 1 || got.Organization[0] != "system:masters" {
		t.Errorf("subject %v", got)
	}
	use := x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := clientCertificate.Verify(use); err != nil {
		t.Errorf("client: %v", err)
	}

	server, err := authority.Server("kube-apiserver", []string{"kubernetes.default"}, []net.IP{net.IPv4(10, 96, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	serverCertificate := parse(t, server)
	for _, name := range []string{"kubernetes.default", "10.96.0.1"} {
		if _, err := serverCertificate.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("server as %s: %v", name, err)
		}
	}
	if _, err := serverCertificate.Verify(use); err == nil {
		t.Error("a serving certificate verifies as a client's")
	}
}
