package main

import (
	"os"
	"path/filepath"
	"syscall"
)

// giveAway hands path, and the directories just above it that root owns too,
// to the owner of the nearest directory that is not root's.
func giveAway(path string) {
	var mine []string
	for p := path; p != filepath.Dir(p); p = filepath.Dir(p) {
		fi, err := os.Lstat(p)
		if err != nil {
			return
		}
		st, ok := fi.Sys().(*syscall.Stat_t)
		if !ok {
			return
		}
		if st.Uid == 0 {
			mine = append(mine, p)
			continue
		}
		for _, m := range mine {
			_ = os.Lchown(m, int(st.Uid), int(st.Gid))
		}
		return
	}
}
