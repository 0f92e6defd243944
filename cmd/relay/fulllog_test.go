package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// Mail flows although no line of the log can be written: /dev/full refuses each
// as a full disk does.
func TestLogOnFullDisk(t *testing.T) {
	k, book := newKillLab(t, ""), newLedger()
	under(t, "exec >/dev/full 2>&1")
	c := k.start(t)
	defer c.kill()
	for i := range 10 {
		if err := k.send(book, fmt.Sprintf("m%d", i), "hello\r\n"); err != nil {
			t.Fatal(err)
		}
	}
	k.drain(t, book, 0)
	if f := k.check(book); f.acked != 10 || len(f.wrong) > 0 {
		t.Errorf("%v: %q", f, f.wrong)
	}
	if text, _ := c.text(); text != "" {
		t.Errorf("the log was to be lost: %s", text)
	}
	if n := k.linesLost(t); n < 20 {
		t.Errorf("%d lines are said to be lost: there are more for ten messages", n)
	}
}

// linesLost is how many lines of the log the relay knows to be lost.
func (k *killLab) linesLost(t *testing.T) int {
	t.Helper()
	text, err := scrape(k.dir)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^relay_log_lines_lost_total (\d+)$`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("no count of lost lines:\n%s", text)
	}
	n, _ := strconv.Atoi(string(m[1]))
	return n
}

// under has the relays that are started from now on be started by a shell, after
// these commands of its: a limit, a cgroup, a place for the log.
func under(t *testing.T, commands string) {
	t.Helper()
	self, err := exec.LookPath("relay")
	if err != nil {
		t.Fatal(err)
	}
	script := fmt.Sprintf("#!/bin/sh\nset -e\n%s\nexec %q \"$@\"\n", commands, self)
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "relay"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
}
