//go:build interop

package interop

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// nameserver by its name.
func (s *server) nameserver(name string) (*nameserver, error) {
	if n := s.names[name]; n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("no name server %q", name)
}

func cmdRecord(s *server, args []string) error {
	n, err := s.nameserver(args[0])
	if err != nil {
		return err
	}
	if args[1] == "-" {
		return n.update("update delete " + strings.Join(args[2:], " "))
	}
	return n.add(strings.Join(args[2:], " "))
}

func cmdZone(s *server, args []string) error {
	n, err := s.nameserver(args[1])
	if err != nil {
		return err
	}
	text, err := s.file(args[2])
	if err != nil {
		return err
	}
	return s.publish(args[0], n, text)
}

func cmdNames(s *server, args []string) error {
	n, err := s.nameserver(args[0])
	if err != nil {
		return err
	}
	switch {
	case args[1] == "stop":
		return n.named.stop()
	case args[1] == "start":
		return n.begin()
	case args[1] == "forget" && len(args) == 3:
		_, err := n.run("", "rndc", "delzone", args[2])
		return err
	}
	return errUsage
}

func cmdAddress(s *server, args []string) error {
	a, err := netip.ParseAddr(args[0])
	if err != nil {
		return err
	}
	s.addrs = append(s.addrs, a)
	return s.address(a)
}

func cmdTruncated(s *server, args []string) error {
	return s.expect("over UDP "+strings.Join(args, " "), []string{"truncated"}, func() (string, error) {
		out, err := s.names["hoster"].run("", "dig", append([]string{"@192.0.2.53", "+ignore", "+bufsize=1232"}, args...)...)
		if err == nil && regexp.MustCompile(`flags:[a-z ]* tc`).MatchString(out) {
			return "truncated", nil
		}
		return "whole", err
	})
}
