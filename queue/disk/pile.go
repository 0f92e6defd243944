package disk

// pile is recipients of the index, as a heap or in no order. Each of them knows
// its place in it.
type pile []ref

// order says which of two recipients comes first in a heap.
type order func(a, b *item) bool

func byDue(a, b *item) bool { return a.due < b.due }

func byArrival(a, b *item) bool { return a.id < b.id || a.id == b.id && a.n < b.n }

// push puts a recipient on a heap; without order, at the end.
func (x *index) push(p *pile, r ref, first order) {
	*p = append(*p, r)
	i := len(*p) - 1
	x.at(r).pos = uint32(i)
	if first != nil {
		x.up(*p, i, first)
	}
}

// cut takes the recipient at a place off a heap.
func (x *index) cut(p *pile, i int, first order) ref {
	h := *p
	r, last := h[i], len(h)-1
	h[i] = h[last]
	x.at(h[i]).pos = uint32(i)
	h = h[:last]
	if *p = h; i < last && first != nil {
		if !x.down(h, i, first) {
			x.up(h, i, first)
		}
	}
	if cap(h) > 1024 && len(h) < cap(h)/4 {
		*p = append(make(pile, 0, cap(h)/2), h...)
	}
	return r
}

func (x *index) up(h pile, i int, first order) {
	r := h[i]
	it := x.at(r)
	for i > 0 {
		parent := (i - 1) / 2
		above := x.at(h[parent])
		if !first(it, above) {
			break
		}
		h[i], above.pos = h[parent], uint32(i)
		i = parent
	}
	h[i], it.pos = r, uint32(i)
}

// down says whether anything moved.
func (x *index) down(h pile, i int, first order) bool {
	r, from := h[i], i
	it := x.at(r)
	for {
		child := 2*i + 1
		if child >= len(h) {
			break
		}
		below := x.at(h[child])
		if other := child + 1; other < len(h) {
			if o := x.at(h[other]); first(o, below) {
				child, below = other, o
			}
		}
		if !first(below, it) {
			break
		}
		h[i], below.pos = h[child], uint32(i)
		i = child
	}
	h[i], it.pos = r, uint32(i)
	return i != from
}
