package config

import (
	"time"

	"smtprelay/relay"
	"smtprelay/relay/deliver"
)

const (
	routeDirect    = "direct"
	routeSmartHost = "smarthost"
)

// Delivery is how mail leaves.
type Delivery struct {
	Route    string   `toml:"route"` // direct, smarthost
	Port     int      `toml:"port"`  // of exchangers
	Timeouts Timeouts `toml:"timeouts"`
}

// Timeouts of the phases of one connection (RFC 5321 section 4.5.3.2).
type Timeouts struct {
	Connect Duration `toml:"connect"`
	Greet   Duration `toml:"greet"`
	Mail    Duration `toml:"mail"`
	Rcpt    Duration `toml:"rcpt"`
	Data    Duration `toml:"data"`
	Block   Duration `toml:"block"`
	Dot     Duration `toml:"dot"`
}

func minutes(n int) Duration { return Duration(n) * Duration(time.Minute) }

func defaultDelivery() Delivery {
	return Delivery{Route: routeDirect, Port: 25, Timeouts: Timeouts{
		Connect: minutes(1) / 2, Greet: minutes(5), Mail: minutes(5), Rcpt: minutes(5), Data: minutes(2), Block: minutes(3), Dot: minutes(10),
	}}
}

func (d Delivery) fill(l *loader, o *relay.Options) {
	l.choice("delivery.route", d.Route, routeDirect, routeSmartHost)
	if d.Route == routeSmartHost && len(l.file.SmartHost) == 0 {
		l.bad("delivery.route", "add a [[smarthost]], or set route to \"direct\"", "%q: there is no [[smarthost]]", d.Route)
	}
	private := l.file.Preflight.Private
	if d.Port != 25 && !private {
		l.bad("delivery.port", "exchangers of the internet listen on 25; in a network of your own set private = true under [preflight]", "%d: another port than 25 in the public internet", d.Port)
	}
	o.Plan.SmartHostOnly = d.Route == routeSmartHost
	o.Deliver.Port = uint16(l.number("delivery.port", d.Port, 1, 65535))
	o.Deliver.Private = private
	o.Deliver.Timeouts = d.Timeouts.check(l)
	o.Deliver.Names, o.Deliver.SmartEHLO = l.file.names()
	o.Deliver.Listeners = o.Plan.Listeners
}

func (t Timeouts) check(l *loader) deliver.Timeouts {
	in := func(key string, d Duration) time.Duration {
		return l.between("delivery.timeouts."+key, d, Duration(time.Second), minutes(60))
	}
	return deliver.Timeouts{
		Connect: in("connect", t.Connect), Greet: in("greet", t.Greet), Mail: in("mail", t.Mail), Rcpt: in("rcpt", t.Rcpt),
		Data: in("data", t.Data), Block: in("block", t.Block), Dot: in("dot", t.Dot),
	}
}
