package dns

import "context"

type onPacket struct{}

// OnPacket has f called whenever a Client sends a question in this context: with
// the first try, and with each further one that silence, an error or an answer
// that is cut short makes necessary. f may be called from several goroutines.
func OnPacket(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, onPacket{}, f)
}

func sending(ctx context.Context) {
	if f, ok := ctx.Value(onPacket{}).(func()); ok {
		f()
	}
}
