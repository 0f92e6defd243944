package disk

import (
	"slices"
)

// roll lists the messages of the index in the order of arrival, each with the
// first of its recipients. It is a search tree of two levels without pointers to
// what it lists: 12 octets a message.
type roll struct {
	leaves []*leaf
	firsts []uint64 // the first ID of each leaf
	size   int
}

// leafMost makes a leaf fit 3 KiB.
const leafMost = 255

type leaf struct {
	n     int32
	heads [leafMost]ref
	ids   [leafMost]uint64
}

func (l *leaf) search(id uint64) (int, bool) { return slices.BinarySearch(l.ids[:l.n], id) }

func (l *leaf) insert(at int, id uint64, head ref) {
	copy(l.ids[at+1:], l.ids[at:l.n])
	copy(l.heads[at+1:], l.heads[at:l.n])
	l.ids[at], l.heads[at] = id, head
	l.n++
}

// leaf is the number of the leaf in which an ID is or belongs; -1 before the first.
func (r *roll) leaf(id uint64) int {
	i, found := slices.BinarySearch(r.firsts, id)
	if !found {
		i--
	}
	return i
}

// find returns the first recipient of a message, 0 when it is not listed.
func (r *roll) find(id uint64) ref {
	i := r.leaf(id)
	if i < 0 {
		return 0
	}
	if at, ok := r.leaves[i].search(id); ok {
		return r.leaves[i].heads[at]
	}
	return 0
}

// put lists a message, or changes its first recipient. Messages mostly come in
// order, and a leaf is split where they come in, so that leaves are full.
func (r *roll) put(id uint64, head ref) {
	i := max(r.leaf(id), 0)
	if len(r.leaves) == 0 {
		r.insertLeaf(0, &leaf{}, id)
	}
	l := r.leaves[i]
	at, ok := l.search(id)
	if ok {
		l.heads[at] = head
		return
	}
	r.size++
	if l.n == leafMost {
		rest := &leaf{n: l.n - int32(at)}
		copy(rest.ids[:], l.ids[at:])
		copy(rest.heads[:], l.heads[at:])
		if l.n = int32(at); rest.n > 0 {
			r.insertLeaf(i+1, rest, rest.ids[0])
		}
		if l.n == leafMost {
			l, at, i = &leaf{}, 0, i+1
			r.insertLeaf(i, l, id)
		}
	}
	l.insert(at, id, head)
	r.firsts[i] = l.ids[0]
}

func (r *roll) insertLeaf(i int, l *leaf, first uint64) {
	r.leaves, r.firsts = slices.Insert(r.leaves, i, l), slices.Insert(r.firsts, i, first)
}

func (r *roll) deleteLeaf(i int) {
	r.leaves, r.firsts = slices.Delete(r.leaves, i, i+1), slices.Delete(r.firsts, i, i+1)
}

// remove takes a message off the list.
func (r *roll) remove(id uint64) {
	i := r.leaf(id)
	if i < 0 {
		return
	}
	l := r.leaves[i]
	at, ok := l.search(id)
	if !ok {
		return
	}
	r.size--
	copy(l.ids[at:], l.ids[at+1:l.n])
	copy(l.heads[at:], l.heads[at+1:l.n])
	if l.n--; l.n == 0 {
		r.deleteLeaf(i)
		return
	}
	r.firsts[i] = l.ids[0]
	if i+1 == len(r.leaves) {
		return
	}
	if next := r.leaves[i+1]; l.n+next.n <= leafMost/2 {
		copy(l.ids[l.n:], next.ids[:next.n])
		copy(l.heads[l.n:], next.heads[:next.n])
		l.n += next.n
		r.deleteLeaf(i + 1)
	}
}

// last is the newest message, 0 when there is none.
func (r *roll) last() uint64 {
	if len(r.leaves) == 0 {
		return 0
	}
	l := r.leaves[len(r.leaves)-1]
	return l.ids[l.n-1]
}

// after goes through the messages that arrived after this one.
func (r *roll) after(id uint64) func(yield func(id uint64, head ref) bool) {
	return func(yield func(uint64, ref) bool) {
		for i := max(r.leaf(id), 0); i < len(r.leaves); i++ {
			l := r.leaves[i]
			at, ok := l.search(id)
			if ok {
				at++
			}
			for ; at < int(l.n); at++ {
				if !yield(l.ids[at], l.heads[at]) {
					return
				}
			}
		}
	}
}
