package cluster

import (
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestNamesAndAddresses(t *testing.T) {
	benchmarks := netip.MustParsePrefix("198.18.0.0/15")
	seen := map[netip.Prefix]string{}
	for _, name := range []string{"", "a", "verify", "second-one"} {
		c, err := New(name, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if !benchmarks.Overlaps(c.Subnet) || c.Subnet.Bits() != 24 || c.Subnet != c.Subnet.Masked() {
			t.Errorf("%q: subnet %s", name, c.Subnet)
		}
		if former, ok := seen[c.Subnet]; ok {
			t.Errorf("%q and %q have one subnet", name, former)
		}
		seen[c.Subnet] = name
		if len(c.HostInterface()) > 15 {
			t.Errorf("interface %s is too long", c.HostInterface())
		}
		for _, ip := range append(c.LoadBalancerIPs(), c.HostIP()) {
			if !c.Subnet.Contains(ip) {
				t.Errorf("%s is outside %s", ip, c.Subnet)
			}
		}
	}
	for _, name := range []string{"Upper", "-a", "a-", "a_b", "elevenchars", "../x"} {
		if _, err := New(name, t.TempDir()); err == nil {
			t.Errorf("name %q is taken", name)
		}
	}
	if _, err := New("", "/"+strings.Repeat("x", 100)); err == nil {
		t.Error("a path that no socket can have is taken")
	}
}

func TestStateFolderFollowsNameAndEnvironment(t *testing.T) {
	t.Setenv("IRONSAIL_CACHE", "/cache")
	for _, test := range []struct{ name, flag, environment, want string }{
		{"", "", "", "/cache/node"},
		{"b", "", "", "/cache/node-b"},
		{"b", "", "/environment", "/environment"},
		{"b", "/flag", "/environment", "/flag"},
	} {
		t.Setenv("IRONSAIL_STATE", test.environment)
		c, err := New(test.name, test.flag)
		if err != nil {
			t.Fatal(err)
		}
		if c.StateDir != test.want {
			t.Errorf("%+v: got %s", test, c.StateDir)
		}
	}
}

func TestDescriptionIsReadBack(t *testing.T) {
	c, err := New("b", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Load(c.StateDir); !errors.Is(err, ErrAbsent) {
		t.Errorf("before: %v", err)
	}
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	got, err := Load(c.StateDir)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("got %+v %v, want %+v", got, err, c)
	}
}
