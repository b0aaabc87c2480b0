package guest

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/wire/guest"
)

// journalWrite is how long the node may take for an entry.
const journalWrite = 30 * time.Second

// feedJournal sends what happens to documents to the node.
func (a *Agent) feedJournal(w http.ResponseWriter, r *http.Request) error {
	ws, err := upgrade(w, r)
	if ws == nil {
		return err
	}
	defer ws.CloseNow()
	f := a.documents.Feed()
	defer f.Close()
	ctx, cancel := context.WithCancel(r.Context())
	acks := make(chan struct{})
	defer func() { cancel(); <-acks }()
	go func() {
		defer close(acks)
		defer cancel()
		for {
			_, b, err := ws.Read(ctx)
			if err != nil {
				return
			}
			ack, err := guestwire.DecodeJournalAck(b)
			if err == nil {
				err = f.Ack(uint64(ack))
			}
			if err != nil {
				ws.Close(websocket.StatusPolicyViolation, err.Error())
				return
			}
		}
	}()
	for {
		list, err := f.Next(ctx)
		if err != nil {
			if holt.IsKind(err, holt.KindUnavailable) {
				ws.Close(websocket.StatusTryAgainLater, err.Error())
			}
			return nil
		}
		for _, e := range list {
			wctx, stop := context.WithTimeout(ctx, journalWrite)
			err := ws.Write(wctx, websocket.MessageBinary, e.Append(nil))
			stop()
			if err != nil {
				return nil
			}
		}
	}
}

// replayJournal brings documents back that the machine lost with its memory.
func (a *Agent) replayJournal(w http.ResponseWriter, r *http.Request) error {
	var out guestwire.JournalResult
	restored := flag(r, "restored")
	body := bufio.NewReader(r.Body)
	replay := func(list []guestwire.JournalEntry) {
		if len(list) == 0 {
			return
		}
		out.Documents++
		path := list[0].Path
		done, err := a.documents.Replay(r.Context(), path, list, restored)
		switch {
		case err != nil:
			a.log.Warn("replay", "path", path, "err", err)
			out.Warnings = append(out.Warnings, fmt.Sprintf("%s: %v", path, err))
		case done.Beside != "":
			out.Beside = append(out.Beside, done.Beside)
		case done.Written:
			out.Written = append(out.Written, path)
		}
	}
	var list []guestwire.JournalEntry // of one document
	for {
		e, err := readJournalEntry(body)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return holt.Invalidf("journal", "%v", err)
		}
		if len(list) > 0 && list[0].Path != e.Path {
			replay(list)
			list = nil
		}
		list = append(list, e)
	}
	replay(list)
	return reply(w, out)
}

// readJournalEntry reads an entry with its length before it. The error is [io.EOF]
// where there is none.
func readJournalEntry(r *bufio.Reader) (guestwire.JournalEntry, error) {
	length, err := binary.ReadUvarint(r)
	if err != nil {
		return guestwire.JournalEntry{}, err
	}
	if length > guestwire.MaxJournalEntry {
		return guestwire.JournalEntry{}, errors.New("an entry is too long")
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return guestwire.JournalEntry{}, fmt.Errorf("read entry: %w", noEOF(err))
	}
	return guestwire.DecodeJournalEntry(b)
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
