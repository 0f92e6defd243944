package preflight

import (
	"net/netip"
	"strings"

	"golang.org/x/net/publicsuffix"
)

// Operators that have words of their own.
const (
	Gmail        = "Gmail"
	Yahoo        = "Yahoo"
	Outlook      = "Outlook.com"
	Microsoft365 = "Microsoft 365"
	Apple        = "Apple"
	Proofpoint   = "Proofpoint"
	GMX          = "GMX"
	TOnline      = "T-Online"
	Comcast      = "Comcast"
	Spectrum     = "Spectrum"
	Orange       = "Orange"
	Mimecast     = "Mimecast"
	Virgin       = "Virgin Media"
	MailRu       = "mail.ru"
)

// operators by the domain that their exchangers stand in.
var operators = map[string]string{
	"google.com": Gmail, "googlemail.com": Gmail,
	"yahoodns.net":           Yahoo,
	"protection.outlook.com": Microsoft365, "mx.microsoft": Microsoft365,
	"olc.protection.outlook.com": Outlook, "hotmail.com": Outlook,
	"icloud.com": Apple, "apple.com": Apple,
	"pphosted.com": Proofpoint, "ppe-hosted.com": Proofpoint, "gpphosted.com": Proofpoint,
	"gmx.net": GMX, "gmx.com": GMX, "web.de": GMX, "mail.com": GMX, "kundenserver.de": GMX,
	"t-online.de": TOnline,
	"comcast.net": Comcast,
	"charter.net": Spectrum, "spectrum.net": Spectrum, "rr.com": Spectrum,
	"orange.fr": Orange, "wanadoo.fr": Orange, "laposte.net": Orange,
	"mimecast.com": Mimecast, "mimecast.co.za": Mimecast,
	"virginmedia.com": Virgin, "virgin.net": Virgin, "blueyonder.co.uk": Virgin,
	"mail.ru": MailRu,
}

// Operator says who runs an exchanger: one of the names above, else the
// registrable domain of its name, else the name as it is. Whoever owns a domain
// can call a host "mx.google.com.example.net": only the end of a name counts.
func Operator(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for name := host; name != ""; {
		if o, ok := operators[name]; ok {
			return o
		}
		_, name, _ = strings.Cut(name, ".")
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return host
	}
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		return domain
	}
	return host
}
