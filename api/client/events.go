package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

// Latest, given as since, starts a stream with what happens from now on.
const Latest int64 = -1

// Events follows what happens to all workspaces, from after the event numbered
// since; [Latest] starts now. A lost connection is made again and continues
// after the last event seen, without loss or repetition. The sequence ends with
// ctx, or with one error that trying again will not mend.
func (c *Client) Events(ctx context.Context, since int64) iter.Seq2[api.Event, error] {
	return c.follow(ctx, "/events", url.Values{}, since)
}

// FollowLog is [Client.Events] for one workspace.
func (c *Client) FollowLog(ctx context.Context, nameOrID string, since int64) iter.Seq2[api.Event, error] {
	return c.follow(ctx, workspacePath(nameOrID)+"/log", url.Values{"follow": {"true"}}, since)
}

func (c *Client) follow(ctx context.Context, path string, query url.Values, since int64) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		for {
			if since >= 0 {
				query.Set("since", strconv.FormatInt(since, 10))
			}
			resp, err := c.send(ctx, call{method: "GET", path: path, query: query, safe: true})
			if err != nil {
				if ctx.Err() == nil {
					yield(api.Event{}, err)
				}
				return
			}
			err = readEvents(resp.Body, func(seq int64, e *api.Event) bool {
				since = max(since, seq)
				return e == nil || yield(*e, nil)
			})
			resp.Body.Close()
			if errors.Is(err, errEnough) || ctx.Err() != nil {
				return
			}
			select { // the server went away or dropped us: continue where we were
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				return
			}
		}
	}
}

var errEnough = errors.New("reader has enough")

// readEvents reads server-sent events until the stream ends or each returns
// false, which gives errEnough. A message without data has a nil event: it only
// says where the stream stands.
func readEvents(r io.Reader, each func(seq int64, e *api.Event) bool) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 16<<10), 1<<20)
	var id, data string
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line != "":
			name, value, _ := strings.Cut(line, ":")
			value = strings.TrimPrefix(value, " ")
			switch name {
			case "id":
				id = value
			case "data":
				data += value
			}
			continue
		case id == "" && data == "":
			continue
		}
		seq, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			return holt.Wrap(holt.KindInternal, err, "the server sent an event without a number")
		}
		var e *api.Event
		if data != "" {
			e = new(api.Event)
			if err := json.Unmarshal([]byte(data), e); err != nil {
				return fmt.Errorf("decode event %d: %w", seq, err)
			}
		}
		if !each(seq, e) {
			return errEnough
		}
		id, data = "", ""
	}
	return lines.Err()
}
