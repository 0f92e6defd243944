package disk

import "strings"

// names gives numbers to strings that many recipients have in common. 0 is the
// empty one.
type names struct {
	by    map[string]uint32
	names []name
	free  []uint32
}

type name struct {
	text  string
	users int
}

// take returns the number of a string for one more user.
func (t *names) take(text string) uint32 {
	if text == "" {
		return 0
	}
	no, ok := t.by[text]
	if !ok {
		no = t.add(strings.Clone(text)) // not what it may be a part of
	}
	t.names[no].users++
	return no
}

func (t *names) add(text string) (no uint32) {
	if t.by == nil {
		t.by, t.names = map[string]uint32{}, make([]name, 1)
	}
	if n := len(t.free); n > 0 {
		no, t.free = t.free[n-1], t.free[:n-1]
	} else {
		no = uint32(len(t.names))
		t.names = append(t.names, name{})
	}
	t.names[no] = name{text: text}
	t.by[text] = no
	return no
}

// drop ends one use, and says whether it was the last.
func (t *names) drop(no uint32) (last bool) {
	if no == 0 {
		return false
	}
	n := &t.names[no]
	if n.users--; n.users > 0 {
		return false
	}
	delete(t.by, n.text)
	*n = name{}
	t.free = append(t.free, no)
	return true
}
