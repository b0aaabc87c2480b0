package gateway

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/holt-ide/holt"
	"github.com/holt-ide/holt/api"
)

const (
	// uploadPause is how long a sender may be silent within a body.
	uploadPause = time.Minute
	// drainTime is how long a sender may take to notice that its body is refused.
	drainTime = 10 * time.Second
)

// upload is a large request body that is read while the answer is written. It
// is bounded in size and its sender must keep sending. Its errors are for the
// user.
type upload struct {
	rc   *http.ResponseController
	body *bufio.Reader
	n    int64 // bytes read
}

func newUpload(w http.ResponseWriter, r *http.Request) *upload {
	u := &upload{rc: http.NewResponseController(w), body: bufio.NewReaderSize(r.Body, 64<<10)}
	_ = u.rc.EnableFullDuplex() // HTTP/2 has it always
	return u
}

// await returns when the first byte is there. It comes before the first line of
// the answer: a sender that asked whether to go on would take that line for a no.
func (u *upload) await() error {
	_ = u.rc.SetReadDeadline(time.Now().Add(uploadPause)) // a writer without deadlines is a test's
	_, err := u.body.Peek(1)
	if errors.Is(err, io.EOF) {
		return holt.Invalid("body", "the archive is empty: send a tar archive with an image")
	}
	return u.explain(err)
}

// Read implements [io.Reader].
func (u *upload) Read(p []byte) (int, error) {
	_ = u.rc.SetReadDeadline(time.Now().Add(uploadPause))
	n, err := u.body.Read(p)
	u.n += int64(n)
	if u.n > api.MaxImageArchive {
		most := holt.FormatSize(api.MaxImageArchive)
		return 0, &holt.Error{Kind: holt.KindInvalid, Field: "body", Limit: most, Text: "the archive is too large: at most " + most}
	}
	return n, u.explain(err)
}

func (u *upload) explain(err error) error {
	if err == nil {
		return nil
	}
	// The server goes on to watch the connection, for which there is no deadline.
	_ = u.rc.SetReadDeadline(time.Time{})
	switch {
	case errors.Is(err, io.EOF):
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return holt.Wrap(holt.KindTimeout, err, "nothing of the archive arrived for "+uploadPause.String()+": send it again")
	}
	return holt.Wrap(holt.KindUnavailable, err, "the archive broke off on its way: send it again")
}

// drain takes in what a sender still sends that has not seen the answer yet: to
// hang up on it now could destroy the answer.
func (u *upload) drain() {
	_ = u.rc.SetReadDeadline(time.Now().Add(drainTime))
	_, _ = io.CopyN(io.Discard, u.body, api.MaxImageArchive) // whatever ends it, the answer is sent
	_ = u.rc.SetReadDeadline(time.Time{})
}
