package dial

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// allowed tells in which networks an address may be dialled: "public", "private"
// (only there) or "never".
var allowed = []struct{ addr, where string }{
	{"8.8.8.8", "public"}, {"1.1.1.1", "public"}, {"2600::1", "public"}, {"2a00:1450::1a", "public"},
	{"100.63.255.255", "public"}, {"100.128.0.0", "public"}, {"172.15.255.255", "public"}, {"172.32.0.0", "public"},
	{"192.0.3.0", "public"}, {"198.17.255.255", "public"}, {"198.20.0.0", "public"}, {"223.255.255.255", "public"},
	{"64:ff9b::808:808", "public"}, {"2002:808:808::1", "public"}, {"2001:200::1", "public"}, {"::ffff:8.8.8.8", "public"},

	{"127.0.0.1", "private"}, {"127.255.255.255", "private"}, {"::1", "private"},
	{"10.0.0.1", "private"}, {"172.16.0.1", "private"}, {"172.31.255.255", "private"}, {"192.168.0.1", "private"},
	{"100.64.0.1", "private"}, {"100.127.255.255", "private"}, {"fc00::1", "private"}, {"fd12:3456::1", "private"}, {"fec0::1", "private"},
	{"192.0.2.1", "private"}, {"198.51.100.1", "private"}, {"203.0.113.1", "private"}, {"2001:db8::1", "private"}, {"3fff::1", "private"},
	{"198.18.0.1", "private"}, {"198.19.255.255", "private"}, {"192.0.0.8", "private"}, {"192.88.99.1", "private"},
	{"240.0.0.1", "private"}, {"255.255.255.254", "private"}, {"2001::1", "private"}, {"100::1", "private"}, {"5f00::1", "private"},
	{"64:ff9b:1::808:808", "private"}, {"4000::1", "private"}, {"::8.8.8.8", "private"},
	{"::ffff:127.0.0.1", "private"}, {"::ffff:10.0.0.1", "private"},
	{"64:ff9b::7f00:1", "private"}, {"64:ff9b::a00:1", "private"}, {"2002:7f00:1::1", "private"}, {"2002:a00:1::", "private"},

	{"169.254.169.254", "never"}, {"169.254.0.1", "never"}, {"fd00:ec2::254", "never"}, {"fd20:ce::254", "never"},
	{"100.100.100.200", "never"}, {"192.0.0.192", "never"}, {"168.63.129.16", "never"}, {"fe80::1", "never"}, {"fe80::1%lo", "never"},
	{"0.0.0.0", "never"}, {"0.1.2.3", "never"}, {"::", "never"}, {"224.0.0.1", "never"}, {"239.255.255.255", "never"}, {"ff02::1", "never"},
	{"255.255.255.255", "never"}, {"::ffff:169.254.169.254", "never"}, {"64:ff9b::a9fe:a9fe", "never"}, {"2002:a9fe:a9fe::1", "never"}, {"64:ff9b:1::a9fe:a9fe", "never"},
	{"::ffff:0.0.0.0", "never"}, {"64:ff9b::e000:1", "never"},
}

func none() []netip.Addr { return nil }

func TestCheck(t *testing.T) {
	for _, c := range allowed {
		to := netip.AddrPortFrom(netip.MustParseAddr(c.addr), 25)
		public := Dialer{Own: none}.Check(to) == nil
		private := Dialer{Own: none, Private: true}.Check(to) == nil
		if public != (c.where == "public") || private != (c.where != "never") {
			t.Errorf("%s: public %v, private %v, want %s", c.addr, public, private, c.where)
		}
	}
}

// The guard stands between the socket and its connect: an address that only
// turns up there is refused there, and no packet leaves.
func TestControlRefuses(t *testing.T) {
	for _, c := range allowed {
		to := netip.AddrPortFrom(netip.MustParseAddr(c.addr), 25).String()
		err := Dialer{Own: none}.control(t.Context(), "tcp", to, nil)
		if (err == nil) != (c.where == "public") || err != nil && !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v", to, err)
		}
	}
	if err := (Dialer{}).control(t.Context(), "tcp", "localhost:25", nil); !errors.Is(err, ErrForbidden) {
		t.Errorf("a name: %v", err)
	}
	nd := net.Dialer{ControlContext: Dialer{}.control}
	ln := listen(t, "127.0.0.1:0")
	if c, err := nd.DialContext(t.Context(), "tcp", ln.String()); !errors.Is(err, ErrForbidden) {
		t.Errorf("connected: %v %v", c, err)
	}
}

// listen accepts and fails the test should anybody come who was not expected.
func listen(t *testing.T, addr string) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return netip.MustParseAddrPort(ln.Addr().String())
}

func TestDialContext(t *testing.T) {
	ln := listen(t, "127.0.0.2:0")
	if c, err := (Dialer{}).DialContext(t.Context(), "tcp", ln.String()); !errors.Is(err, ErrForbidden) || c != nil {
		t.Errorf("public: %v", err)
	}
	d := Dialer{Private: true, Bind: netip.MustParseAddr("127.0.0.3"), Timeout: time.Second}
	c, err := d.DialContext(t.Context(), "tcp", ln.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if a := netip.MustParseAddrPort(c.LocalAddr().String()).Addr(); a != d.Bind {
		t.Errorf("from %s", a)
	}
	for _, bad := range []string{"localhost:25", "127.0.0.1", "", "127.0.0.1:smtp", ":25"} {
		if _, err := d.DialContext(t.Context(), "tcp", bad); err == nil {
			t.Errorf("%q was dialled", bad)
		}
	}
	d.Bind = netip.MustParseAddr("192.0.2.77")
	if _, err := d.DialContext(t.Context(), "tcp", ln.String()); err == nil {
		t.Error("from an address that we do not have")
	}
}

func TestListenersAreNeverDialled(t *testing.T) {
	own := func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("10.0.0.5"), netip.MustParseAddr("2600::5")}
	}
	for _, c := range []struct {
		listener, to string
		self         bool
	}{
		{"127.0.0.1:25", "127.0.0.1:25", true},
		{"127.0.0.1:25", "127.0.0.1:26", false},
		{"127.0.0.1:25", "127.0.0.2:25", false},
		{"127.0.0.1:25", "[::ffff:127.0.0.1]:25", true},
		{"0.0.0.0:25", "10.0.0.5:25", true},
		{"0.0.0.0:25", "127.0.0.9:25", true},
		{"[::]:25", "10.0.0.5:25", true},
		{"[::]:25", "[2600::5]:25", true},
		{"[::]:25", "[::1]:25", true},
		{"[::]:25", "10.0.0.6:25", false},
		{"10.0.0.5:25", "[64:ff9b::a00:5]:25", true},
		{"0.0.0.0:25", "[64:ff9b::a00:5]:25", true},
		{"0.0.0.0:25", "192.0.2.5:25", true},
		{"10.0.0.5:25", "192.0.2.5:25", false},
	} {
		d := Dialer{Private: true, Own: own, Listeners: []netip.AddrPort{netip.MustParseAddrPort(c.listener)}}
		d.Public = []netip.Addr{netip.MustParseAddr("192.0.2.5")}
		err := d.Check(netip.MustParseAddrPort(c.to))
		if errors.Is(err, ErrSelf) != c.self || errors.Is(err, ErrForbidden) != c.self {
			t.Errorf("%s with listener %s: %v", c.to, c.listener, err)
		}
	}
}

func TestOwnAddresses(t *testing.T) {
	d := Dialer{
		Own:    func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("8.8.8.8")} },
		Public: []netip.Addr{netip.MustParseAddr("8.8.4.4")}, // NAT's
	}
	for _, own := range []string{"8.8.8.8:25", "[::ffff:8.8.8.8]:25", "[64:ff9b::808:808]:25", "[2002:808:808::1]:25", "8.8.4.4:25", "[64:ff9b::808:404]:25"} {
		to := netip.MustParseAddrPort(own)
		d.Private = false
		if err := d.Check(to); !errors.Is(err, ErrForbidden) || !errors.Is(err, ErrSelf) {
			t.Errorf("%s: public: %v", own, err)
		}
		d.Private = true
		if err := d.Check(to); err != nil {
			t.Errorf("%s: private: %v", own, err)
		}
	}
	if len(lately.own()) == 0 {
		t.Error("this host has no address")
	}
}

// The system is asked once a second, and what it said stands while it says nothing: it
// may be short of descriptors.
func TestOwnIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		m := memory{ask: func() ([]netip.Addr, error) {
			if asked++; asked == 2 {
				return nil, syscall.EMFILE
			}
			return []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(asked)})}, nil
		}}
		for second, want := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.3"} {
			for range 2 {
				if got := m.own(); len(got) != 1 || got[0].String() != want || asked != second+1 {
					t.Errorf("second %d: %v, asked %d times", second, got, asked)
				}
			}
			time.Sleep(time.Second)
		}
	})
}

func FuzzCheck(f *testing.F) {
	for _, c := range allowed {
		f.Add(c.addr)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		to := netip.AddrPortFrom(a, 25)
		if (Dialer{Own: none}).Check(to) == nil && (Dialer{Own: none, Private: true}).Check(to) != nil {
			t.Errorf("%s is public and not private", s)
		}
		b := a.Unmap()
		if (b.IsLoopback() || b.IsPrivate() || b.IsLinkLocalUnicast() || b.IsMulticast() || b.IsUnspecified()) &&
			(Dialer{Own: none}).Check(to) == nil {
			t.Errorf("%s is allowed", s)
		}
	})
}
