package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"smtprelay/queue"
)

var (
	// ErrDown says that no relay answers at the socket. It comes as *Down.
	ErrDown = errors.New("no relay answers")
	// ErrNotFound says that no such message is in the queue.
	ErrNotFound = queue.ErrNotFound
)

// Down is an ErrDown that says where, and what to do.
type Down struct {
	Socket string
	Err    error
}

func (d *Down) Error() string   { return fmt.Sprintf("%v at %s", ErrDown, d.Socket) }
func (d *Down) Unwrap() []error { return []error{ErrDown, d.Err} }

// Hint is for the command line.
func (d *Down) Hint() string {
	return "is it running? `systemctl status relay`, or `relay serve`; admin.socket in relay.toml says where it is expected; mail in the queue is safe meanwhile"
}

// Client asks a running relay.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client of the relay that listens at socket. It connects
// when it is asked something, and keeps no connection.
func NewClient(socket string) *Client {
	d := net.Dialer{Timeout: 5 * time.Second}
	return &Client{socket, &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", socket)
		},
	}}}
}

// List goes through the messages that f selects, in order of arrival. An error
// is the last thing it yields.
func (c *Client) List(ctx context.Context, f Filter) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		body, err := c.ask(ctx, http.MethodGet, "/api/queue?"+query(f), nil)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		defer body.Close()
		for d := json.NewDecoder(body); ; {
			l := line{Entry: &Entry{}}
			err := d.Decode(&l)
			switch {
			case err == io.EOF:
				return
			case err != nil:
				err = fmt.Errorf("read the listing: %w", err)
			case l.Error != "":
				err = errors.New(l.Error)
			}
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !yield(*l.Entry, nil) {
				return
			}
		}
	}
}

func query(f Filter) string {
	q := url.Values{}
	for k, v := range map[string]string{"id": string(f.ID), "domain": f.Domain, "from": f.From, "state": string(f.State)} {
		if v != "" {
			q.Set(k, v)
		}
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return q.Encode()
}

// Show returns one message. The error is ErrNotFound when there is none.
func (c *Client) Show(ctx context.Context, id ID) (Entry, error) {
	var e Entry
	return e, c.into(ctx, http.MethodGet, "/api/queue/"+url.PathEscape(string(id)), nil, &e)
}

// Update does one of retry, hold, release, bounce and remove to what f selects, and
// returns how many recipients changed. A filter that selects everything needs all.
func (c *Client) Update(ctx context.Context, action string, f Filter, all bool) (int, error) {
	body, err := json.Marshal(asked{ID: f.ID, Domain: f.Domain, From: f.From, State: f.State, Limit: f.Limit, All: all})
	if err != nil {
		return 0, err
	}
	var a answer
	err = c.into(ctx, http.MethodPost, "/api/queue/"+url.PathEscape(action), body, &a)
	return a.Changed, err
}

func (c *Client) into(ctx context.Context, method, path string, body []byte, v any) error {
	out, err := c.ask(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := json.NewDecoder(out).Decode(v); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// ask returns the body of a good answer; the caller closes it.
func (c *Client) ask(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://relay"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(r)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, &Down{c.socket, err}
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s: permission denied: be its owner, or of its group", c.socket)
	case err != nil:
		return nil, fmt.Errorf("ask the relay at %s: %w", c.socket, errors.Unwrap(err))
	case resp.StatusCode == http.StatusOK:
		return resp.Body, nil
	}
	defer resp.Body.Close()
	var a answer
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAsked)).Decode(&a); err != nil || a.Error == "" {
		return nil, fmt.Errorf("the relay at %s answers %s", c.socket, resp.Status)
	}
	return nil, &refused{resp.StatusCode, a.Error}
}

// refused is an error in the words of the relay.
type refused struct {
	code int
	text string
}

func (r *refused) Error() string { return r.text }
func (r *refused) Is(err error) bool {
	return err == ErrNotFound && r.code == http.StatusNotFound
}
