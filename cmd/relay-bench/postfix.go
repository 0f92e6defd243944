package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"smtprelay/cmd/sandbox"
)

//go:embed testdata/main.cf
var mainCF string

// postfixRoot is a private root with the packages that are measured.
var postfixRoot = sandbox.Roots{Cache: "relay-bench", Packages: map[string][]string{"postfix": {"postfix", "opendkim"}}}

// postfixSystem is Postfix as Debian packs it, tuned as testdata/main.cf says; with DKIM,
// OpenDKIM signs, by a milter on a unix socket.
type postfixSystem struct {
	speech
	relay string // program that makes DKIM keys
	root  string // where its own root is mounted; "": not yet
	log   *net.UnixConn
}

func (*postfixSystem) name() string { return "Postfix" }

func (*postfixSystem) settings(l *lab, _ string) string {
	return mainCF + "\n# In master.cf no service is in a chroot, and smtpd listens at " + l.submission.String() + " only.\n# With DKIM: smtpd_milters = unix:/var/spool/postfix/opendkim/sock, milter_default_action = tempfail.\n"
}

func (p *postfixSystem) start(ctx context.Context, l *lab, dir string, g *group, dkim bool) error {
	p.root = filepath.Join(dir, "root")
	spool := filepath.Join(p.root, "var/spool/postfix")
	queue := filepath.Join(dir, "queue")
	settings := mainCF
	if dkim {
		settings += "\nsmtpd_milters = unix:/var/spool/postfix/opendkim/sock\nmilter_default_action = tempfail\n"
	}
	err := sandbox.InTurn(
		func() error { return sandbox.Overlay(postfixRoot.Path("postfix"), p.root) },
		// The queue lies on the file system itself, as relay's does, and not in the overlay.
		func() error { return sandbox.Run("cp", "-a", spool, queue) },
		func() error { return syscall.Mount(queue, spool, "", syscall.MS_BIND, "") },
		func() error { return p.write("etc/postfix/main.cf", settings) },
		func() error { return p.write("etc/hosts", "127.0.0.1 localhost\n") },
		func() error { os.Remove(filepath.Join(p.root, "etc/resolv.conf")); return nil }, // it may be a link
		func() error {
			return p.write("etc/resolv.conf", fmt.Sprintf("nameserver %s\n", l.resolver()))
		},
		func() error { return p.run("postconf", "-F", "*/*/chroot=n") },
		func() error { return p.run("postconf", "-MX", "smtp/inet") },
		func() error {
			return p.run("postconf", "-M", fmt.Sprintf("%[1]s/inet=%[1]s inet n - n - - smtpd", l.submission))
		},
		p.listenLog,
	)
	if err != nil {
		return err
	}
	if dkim {
		if err := p.signer(ctx, l, dir, g); err != nil {
			return err
		}
	}
	ended, err := p.begin(p.command("/usr/sbin/postfix", "start-fg"), g)
	if err != nil {
		return err
	}
	return greets(ctx, l.submission.String(), ended)
}

// signer starts OpenDKIM.
func (p *postfixSystem) signer(ctx context.Context, l *lab, dir string, g *group) error {
	state := filepath.Join(dir, "key")
	config := filepath.Join(dir, "key.toml")
	if err := os.WriteFile(config, []byte(fmt.Sprintf("state = %q\n[[domain]]\nname = %q\ndkim = [\"k1\"]\n", state, senderDomain)), 0o600); err != nil {
		return err
	}
	record, err := dkimKey(ctx, p.relay, config, state)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(state, "dkim", senderDomain, "k1.pem"))
	if err != nil {
		return err
	}
	err = sandbox.InTurn(
		func() error { return l.dns.Add(record) },
		func() error { return p.write("etc/k1.pem", string(key)) },
		func() error { return p.run("chown", "opendkim:", "/etc/k1.pem") },
		func() error { return os.Chmod(filepath.Join(p.root, "etc/k1.pem"), 0o600) },
		func() error { return p.run("install", "-d", "-o", "opendkim", "/var/spool/postfix/opendkim") },
		func() error {
			return p.write("etc/opendkim.conf", fmt.Sprintf("Mode s\nSocket local:/var/spool/postfix/opendkim/sock\nUMask 0000\nUserID opendkim\nDomain %s\nSelector k1\nKeyFile /etc/k1.pem\nCanonicalization relaxed/relaxed\nOversignHeaders From\nInternalHosts %s\nSyslog no\n", senderDomain, l.clients))
		},
	)
	if err != nil {
		return err
	}
	_, err = p.begin(p.command("/usr/sbin/opendkim", "-f", "-x", "/etc/opendkim.conf"), g)
	return err
}

// command in the private root.
func (p *postfixSystem) command(path string, args ...string) *exec.Cmd {
	c := exec.Command(path, args...)
	c.Dir = "/"
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"}
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: p.root}
	return c
}

// run a command in there, to its end, that is no part of what is measured.
func (p *postfixSystem) run(name string, args ...string) error {
	if _, err := sandbox.Output(p.command("/usr/bin/env", append([]string{name}, args...)...)); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

func (p *postfixSystem) write(name, text string) error {
	return os.WriteFile(filepath.Join(p.root, name), []byte(text), 0o644)
}

// listenLog takes what its programs say to syslog(3), at no cost to them.
func (p *postfixSystem) listenLog() (err error) {
	path := filepath.Join(p.root, "dev/log")
	if p.log, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"}); err != nil {
		return err
	}
	go func(c *net.UnixConn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			p.Write(append(buf[:n:n], '\n'))
		}
	}(p.log)
	return os.Chmod(path, 0o666)
}

// drop takes away what start mounted; its processes have ended.
func (p *postfixSystem) drop() error {
	if p.root == "" {
		return nil
	}
	var errs []error
	if p.log != nil {
		errs = append(errs, p.log.Close())
		p.log = nil
	}
	for _, at := range []string{"var/spool/postfix", "proc", ""} {
		if err := syscall.Unmount(filepath.Join(p.root, at), 0); err != nil && !errors.Is(err, syscall.EINVAL) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", filepath.Join(p.root, at), err))
		}
	}
	p.root = ""
	return errors.Join(errs...)
}
