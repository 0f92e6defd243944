package disk

import "smtprelay/queue"

// page returns messages that a filter may select and that arrived after this
// one, some of the next, and after which to go on; 0 when there are no more.
func (x *index) page(after uint64, f queue.Filter) (ids []uint64, last uint64) {
	const most, far = 256, 4096 // so as to hold up nobody for long
	want, ok := x.want(f)
	if !ok {
		return nil, 0
	}
	seen := 0
	for id, head := range x.roll.after(after) {
		if len(ids) == most || seen == far {
			return ids, last
		}
		seen++
		last = id
		for _, it := range x.rcpts(head) {
			if want.matches(it) {
				ids = append(ids, id)
				break
			}
		}
	}
	return ids, 0
}

// want is what the index knows of whether a filter selects a recipient.
type want struct {
	state byte // 0: any
	dest  uint32
}

// want returns false when there is nothing that a filter selects.
func (x *index) want(f queue.Filter) (w want, ok bool) {
	if f.Domain != "" {
		d := x.named[f.Domain]
		if d == nil {
			return w, false
		}
		w.dest = d.no
	}
	if f.State != "" {
		if w.state = stateCode(f.State); w.state == 0 {
			return w, false
		}
	}
	return w, true
}

func (w want) matches(it *item) bool {
	return (w.state == 0 || it.state == w.state) && (w.dest == 0 || it.dest == w.dest)
}
