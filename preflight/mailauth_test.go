package preflight

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDMARC(t *testing.T) {
	for txt, want := range map[string]string{
		"v=DMARC1; p=reject":                       "reject",
		"v=DMARC1;p=Quarantine;pct=5":              "quarantine",
		" v = DMARC1 ; p = none":                   "none",
		"v=DMARC1":                                 "none",
		"v=DMARC1; rua=mailto:d@example.net":       "none",
		"v=DMARC1; p=bogus":                        "none",
		"v=DMARC1; p=reject; sp=bogus":             "none",
		"v=DMARC1; p=reject; x-unknown=1; p2=none": "reject",
		"v=DMARC1; reject":                         "none",
		"v=dmarc1; p=reject":                       "",
		"p=reject; v=DMARC1":                       "",
		"v=DMARC1; p=reject; p=none":               "",
		"v=DMARC12; p=reject":                      "",
		"":                                         "",
	} {
		d, err := parseDMARC(txt)
		if (err == nil) != (want != "") || err == nil && d.Policy != want {
			t.Errorf("%q: %+v, %v; want %q", txt, d, err, want)
		}
	}
	d, err := parseDMARC("v=DMARC1; p=reject; sp=quarantine; np=none; adkim=s; aspf=S; t=y; psd=n; fo=1:d:s; " +
		"rua=mailto:a@example.net!10m, https://x.example/r; ruf=mailto:f@example.net; pct=50; rf=afrf; ri=86400; later=1")
	want := dmarcRecord{
		Text: d.Text, Policy: "reject", Subdomain: "quarantine", Missing: "none", StrictKey: true, StrictSPF: true, Test: true, PSD: "n",
		Options: []string{"1", "d", "s"}, Aggregate: []string{"mailto:a@example.net", "https://x.example/r"}, Failure: []string{"mailto:f@example.net"},
		Notes: []string{"pct= is no longer used", "rf= is no longer used", "ri= is no longer used"},
	}
	if diff := cmp.Diff(want, d); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestDMARCFaults(t *testing.T) {
	for txt, want := range map[string]string{
		"v=DMARC1; p=rejct; rua=mailto:a@example.net":   "v=DMARC1; p=none; rua=mailto:a@example.net",
		"v=DMARC1; p=reject; sp=bogus":                  "v=DMARC1; p=reject",
		"v=DMARC1; p=none; adkim=strict; aspf=s":        "v=DMARC1; p=none; aspf=s",
		"v=DMARC1; p=none; fo=0:1":                      "v=DMARC1; p=none",
		"v=DMARC1; p=none; fo=1:d:d":                    "v=DMARC1; p=none",
		"v=DMARC1; p=none; psd=x; t=1":                  "v=DMARC1; p=none",
		"v=DMARC1; p=none; rua=a@example.net, b":        "v=DMARC1; p=none; rua=mailto:a@example.net",
		"v=DMARC1; p=none; rua=":                        "v=DMARC1; p=none",
		"v=DMARC1; p=none; quarantine":                  "v=DMARC1; p=none",
		"p=reject; v=DMARC1":                            "v=DMARC1; p=reject",
		"v=dmarc1; p=reject; pct=100":                   "v=DMARC1; p=reject; pct=100",
		"v=DMARC1; p=quarantine; p=reject; x=; rua=;;;": "v=DMARC1; p=quarantine; x=",
		"dmarc1": "v=DMARC1",
	} {
		if len(dmarcFaults([]string{txt})) == 0 {
			t.Errorf("%q: no fault", txt)
		}
		got := correctDMARC(txt)
		if got != want {
			t.Errorf("%q: %s, want %s", txt, got, want)
		}
		if faults := dmarcFaults([]string{got}); len(faults) > 0 {
			t.Errorf("%q: what it should be has faults: %q", txt, faults)
		}
	}
}

func FuzzDMARC(f *testing.F) {
	for _, s := range []string{"v=DMARC1; p=reject; sp=none; psd=y", "v=DMARC1", "v=DMARC1;;=", "v=DMARC1; p=", "", ";", "v=DMARC1; p=none; p=none",
		"v=DMARC1; rua=mailto:a@b.c,mailto:%zz@x!1g,:; fo=0:d:1; t=y", "p=none;v=DMARC1;t=\xff;fo=::;np=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		policies := []string{"none", "quarantine", "reject"}
		d, err := parseDMARC(s)
		if err == nil && (d.Text != s || !slices.Contains(policies, d.Policy) || d.Subdomain != "" && !slices.Contains(policies, d.Subdomain) ||
			d.Missing != "" && !slices.Contains(policies, d.Missing) || !slices.Contains([]string{"y", "n", "u"}, d.PSD)) {
			t.Errorf("%q: %+v", s, d)
		}
		// What is printed to publish can be read by everybody, and asks no more than it did.
		mended := correctDMARC(s)
		again, err2 := parseDMARC(mended)
		if err2 != nil || len(again.Faults) > 0 || correctDMARC(mended) != mended {
			t.Errorf("%q: corrected %q: %+v %v", s, mended, again, err2)
		}
		if err == nil && len(d.Faults) == 0 && again.Policy != d.Policy {
			t.Errorf("%q asks for %s, corrected for %s", s, d.Policy, again.Policy)
		}
	})
}

func TestOrganisation(t *testing.T) {
	at := func(domain, psd string) placed { return placed{domain, dmarcRecord{PSD: psd}} }
	for _, c := range []struct {
		start string
		found []placed
		want  string
	}{
		{"a.mail.example.com", nil, "a.mail.example.com"},
		{"a.mail.example.com", []placed{at("mail.example.com", "u"), at("example.com", "u")}, "example.com"},
		{"a.mail.example.com", []placed{at("mail.example.com", "n")}, "mail.example.com"},
		{"a.mail.example.com", []placed{at("com", "y")}, "example.com"},
		{"a.mail.example.com", []placed{at("mail.example.com", "u"), at("co.example", "u")}, "co.example"},
		{"mail.example.com", []placed{at("example.com", "y")}, "mail.example.com"},
		{"example.com", []placed{at("example.com", "y")}, "example.com"},
		{"com", []placed{at("com", "y")}, "com"},
	} {
		if got, _ := (treeWalk{start: c.start, found: c.found}).organisation(); got != c.want {
			t.Errorf("%s with %v: %s, want %s", c.start, c.found, got, c.want)
		}
	}
}

func TestParseDKIM(t *testing.T) {
	for txt, ok := range map[string]bool{
		"v=DKIM1; k=rsa; p=AAAA":       true,
		"p=AAAA":                       true,
		"k=ed25519; p=AA AA\t==":       false,
		"v=DKIM1; p=":                  true,
		"p=AAAA; v=DKIM1":              false,
		"v=DKIM2; p=AAAA":              false,
		"v=DKIM1; k=rsa":               false,
		"v=DKIM1; p=!!!!":              false,
		"v=DKIM1; p=AAAA; p=BBBB":      false,
		"hello":                        false,
		"v=DKIM1; h=sha256; p=AA\nAA;": true,
	} {
		if _, err := parseDKIM(txt); (err == nil) != ok {
			t.Errorf("%q: %v", txt, err)
		}
	}
	a, _ := parseDKIM("p=AAAA")
	b, _ := parseDKIM("v=DKIM1; k=RSA; p=AA AA")
	c, _ := parseDKIM("v=DKIM1; k=ed25519; p=AAAA")
	revoked, _ := parseDKIM("p=")
	if !a.same(b) || a.same(c) || revoked.same(revoked) {
		t.Error("keys are compared wrongly")
	}
	for txt, want := range map[string]string{
		"p=AAAA":                                   "",
		"p=AAAA; h=sha1:SHA256; s=*; t=s; n=x":     "",
		"p=AAAA; s=tlsrpt : email":                 "",
		"p=AAAA; h=sha1":                           "h= without sha256",
		"p=AAAA; h=":                               "h= without sha256",
		"p=AAAA; s=tlsrpt":                         "s= without email",
		"p=AAAA; t=s:y":                            "t=y (testing)",
		"p=AAAA; h=sha1; s=other; t=y; x-later=12": "h= without sha256, s= without email, t=y (testing)",
	} {
		k, err := parseDKIM(txt)
		if got := strings.Join(k.limits(), ", "); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", txt, got, err, want)
		}
	}
}

func FuzzDKIMKey(f *testing.F) {
	for _, s := range []string{"v=DKIM1; k=rsa; p=AAAA", "p=", "p", "v=DKIM1; p=AA==; t=y", ";;;", "k=\xff; p=AAAA", "p=AAAA;h=:sha256;s=;t=::y",
		"p=MEgCQQCo9+BpMRYQ/dL3DS2CyJxRF+j6ctbT3/Qp84+KeFhnii7NT7fELilKUSnxS30WAvQCCo2yU1orfgqr41mM70MBAgMBAAE="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseDKIM(s)
		if err != nil {
			return
		}
		if k.Kind == "" && !strings.Contains(s, "k") {
			t.Errorf("%q: no kind", s)
		}
		if k.same(k) != (k.Data != nil) || k.String() == "" {
			t.Errorf("%q: %+v is not itself", s, k)
		}
		if k.verifies() && (k.bits() < rsaLeast || k.Data == nil) {
			t.Errorf("%q: %+v verifies", s, k)
		}
	})
}
