package main

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// journal is a log that many append to and one syncs: whoever waits shares the next
// flush. It is the least that a server can do before an honest 250, and so a ceiling.
type journal struct {
	f *os.File

	mu    sync.Mutex
	next  *batch // being filled
	full  chan struct{}
	ended chan struct{}
	syncs int
	spare []byte // a buffer that was flushed
}

// batch is what one flush makes durable.
type batch struct {
	data []byte
	done chan struct{}
	err  error
}

func newJournal(path string) (*journal, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	j := &journal{f: f, full: make(chan struct{}, 1), ended: make(chan struct{})}
	go j.work()
	return j, nil
}

// keep returns when the data is on disk.
func (j *journal) keep(data []byte) error {
	j.mu.Lock()
	if j.next == nil {
		j.next = &batch{data: j.spare[:0], done: make(chan struct{})}
		j.spare = nil
		j.full <- struct{}{}
	}
	b := j.next
	b.data = append(b.data, data...)
	j.mu.Unlock()
	<-b.done
	return b.err
}

func (j *journal) work() {
	defer close(j.ended)
	for range j.full {
		j.mu.Lock()
		b := j.next
		j.next = nil
		j.syncs++
		j.mu.Unlock()
		if _, b.err = j.f.Write(b.data); b.err == nil {
			b.err = unix.Fdatasync(int(j.f.Fd()))
		}
		j.mu.Lock()
		j.spare = b.data
		j.mu.Unlock()
		close(b.done)
	}
}

// flushes so far.
func (j *journal) flushes() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.syncs
}

// close when nobody keeps anything any more.
func (j *journal) close() error {
	close(j.full)
	<-j.ended
	return j.f.Close()
}
