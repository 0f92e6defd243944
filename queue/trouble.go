package queue

// trouble is what an attempt says about the hosts of its lane; the later it stands
// here, the more it counts among those of one message.
type trouble int

const (
	silence  trouble = iota // nothing
	less                    // they ask for less
	broken                  // no conversation came about, or it broke off
	answered                // they talk to us, and did not take this message
	fine                    // a message was taken
)

// trouble of an attempt. What is about one recipient, or what we decided ourselves,
// says nothing of how many connections its host likes.
func (a *Attempt) trouble() trouble {
	early := a.Stage == "greet" || a.Stage == "ehlo"
	switch {
	case a.Outcome == Sent:
		return fine
	case a.Host == "", a.Outcome == Refused && a.Reply.Code == 0:
		return silence
	case a.Outcome == Refused:
		return answered
	case a.Slow && (early || a.Stage == "connect"):
		return broken
	case a.Slow:
		return less
	case a.Ours, a.Reply.Code == 0 && a.Reply.Status != "":
		return silence
	case a.Reply.Code == 0, a.Reply.Code == 421, early:
		return broken
	case len(a.Reply.Status) > 4 && a.Reply.Status[:4] == "4.7.":
		return less
	case a.Stage == "starttls", a.Stage == "auth":
		return silence
	}
	return answered
}

// telling is the attempt that says most of the hosts: what became of one message is
// one word of theirs, however many its recipients are.
func telling(as map[int]Attempt) (most Attempt) {
	for _, a := range as {
		if most.Outcome == "" || a.trouble() > most.trouble() {
			most = a
		}
	}
	return most
}
