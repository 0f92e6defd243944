package preflight

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// A STUN Binding request (RFC 8489) asks a server which address it came from.

const (
	stunRequest = 0x0001 // Binding, section 5
	stunSuccess = 0x0101
	stunCookie  = 0x2112A442
	stunHeader  = 20
	stunMapped  = 0x0001 // MAPPED-ADDRESS, section 14.1
	stunXor     = 0x0020 // XOR-MAPPED-ADDRESS, section 14.2
	stunWait    = 500 * time.Millisecond
)

type stunID [12]byte

// stun asks server from a local address; the zero Addr is any.
func stun(ctx context.Context, bind netip.Addr, server netip.AddrPort) (netip.Addr, error) {
	d := net.Dialer{}
	if bind.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(bind, 0))
	}
	conn, err := d.DialContext(ctx, "udp", server.String())
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ask %s by STUN: %w", server, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	var id stunID
	_, _ = rand.Read(id[:])
	room := make([]byte, 1500)
	// Sent again after 0.5, 1, 2 ... s, as section 6.2.1 has it, until ctx ends.
	for wait := stunWait; ctx.Err() == nil; wait *= 2 {
		conn.SetReadDeadline(time.Now().Add(wait))
		if _, err := conn.Write(stunAsk(id)); err != nil {
			return netip.Addr{}, fmt.Errorf("ask %s by STUN: %w", server, err)
		}
		for ctx.Err() == nil {
			n, err := conn.Read(room)
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				break
			}
			if err != nil {
				return netip.Addr{}, fmt.Errorf("ask %s by STUN: %w", server, err)
			}
			if a, ok := stunAnswer(room[:n], id); ok {
				return a, nil
			}
		}
	}
	return netip.Addr{}, fmt.Errorf("ask %s by STUN: %w", server, context.Cause(ctx))
}

func stunAsk(id stunID) []byte {
	b := binary.BigEndian.AppendUint16(nil, stunRequest)
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, stunCookie)
	return append(b, id[:]...)
}

// stunAnswer reads the address out of the answer to the request id.
func stunAnswer(b []byte, id stunID) (mapped netip.Addr, ok bool) {
	if len(b) < stunHeader || binary.BigEndian.Uint16(b) != stunSuccess || binary.BigEndian.Uint32(b[4:]) != stunCookie || !bytes.Equal(b[8:stunHeader], id[:]) {
		return netip.Addr{}, false
	}
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size%4 != 0 || size != len(b)-stunHeader {
		return netip.Addr{}, false
	}
	key := b[4:stunHeader] // cookie and id
	for rest := b[stunHeader:]; len(rest) >= 4; {
		kind, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := (n + 3) &^ 3 // section 14
		if padded > len(rest)-4 {
			return netip.Addr{}, false
		}
		value := rest[4 : 4+n]
		switch kind {
		case stunXor: // what is not disguised may have been "mended" by a translator on the way
			if a, ok := stunAddr(value, key); ok {
				return a, true
			}
		case stunMapped:
			mapped, ok = stunAddr(value, make([]byte, len(key)))
		}
		rest = rest[4+padded:]
	}
	return mapped, ok
}

// stunAddr reads family, port and address, the latter combined with key.
func stunAddr(v, key []byte) (netip.Addr, bool) {
	sizes := map[byte]int{1: 4, 2: 16}
	if len(v) < 4 || sizes[v[1]] == 0 || len(v) != 4+sizes[v[1]] {
		return netip.Addr{}, false
	}
	raw := bytes.Clone(v[4:])
	for i := range raw {
		raw[i] ^= key[i]
	}
	a, ok := netip.AddrFromSlice(raw)
	return a.Unmap(), ok
}
