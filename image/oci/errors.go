package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	holt "github.com/holt-ide/holt"
)

// refusal says what is wrong with an entry; entryError adds its name.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

func refuse(format string, a ...any) error { return &refusal{fmt.Sprintf(format, a...)} }

// entryError gives an error at one entry its kind and the entry's name.
func entryError(name string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return holt.Wrap(holt.KindNoSpace, err, "the disk that holds the images is full: free some space, for instance with `holt image rm`")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), holt.KindOf(err) != holt.KindInternal:
		return fmt.Errorf("entry %.300q: %w", name, err)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, tar.ErrHeader):
		return tarError(err, false)
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM):
		return fmt.Errorf("write entry %.300q: %w", name, err)
	}
	if r, ok := errors.AsType[*refusal](err); ok {
		return holt.Invalidf("image", "the image is refused: the entry %.300q %s", name, r.text)
	}
	// What is left is what the entry itself provokes: a link that leads out, a
	// name that is too long, a directory that is none.
	_, isErrno := errors.AsType[syscall.Errno](err)
	_, isPath := errors.AsType[*fs.PathError](err) // os.Root's own refusals have no errno
	if isErrno || isPath {
		return &holt.Error{Kind: holt.KindInvalid, Field: "image", Text: fmt.Sprintf("the image is refused: the entry %.300q cannot be made within it", name), Err: err}
	}
	return fetchError(fmt.Errorf("entry %.300q: %w", name, err))
}

// tarError explains a stream that is not a tar archive, or not all of one.
func tarError(err error, first bool) error {
	switch {
	case holt.KindOf(err) != holt.KindInternal, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, tar.ErrHeader) && first:
		return holt.Wrap(holt.KindInvalid, err, "it is not a tar archive")
	case errors.Is(err, tar.ErrHeader):
		return holt.Wrap(holt.KindInvalid, err, "the tar archive is damaged")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return holt.Wrap(holt.KindInvalid, err, "the tar archive is cut off")
	}
	return fetchError(err)
}

// fetchError gives an error from a registry its kind.
func fetchError(err error) error {
	if holt.KindOf(err) != holt.KindInternal || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if te, ok := errors.AsType[*transport.Error](err); ok {
		switch te.StatusCode {
		case http.StatusNotFound:
			return holt.Wrap(holt.KindNotFound, err, "the registry has no such image: check its name and tag")
		case http.StatusUnauthorized, http.StatusForbidden:
			return holt.Wrap(holt.KindForbidden, err, "the registry does not give this image: check its name, or log in to the registry on the server")
		case http.StatusTooManyRequests:
			return holt.Wrap(holt.KindLimit, err, "the registry asks to slow down: try again later")
		}
		return holt.Wrap(holt.KindUnavailable, err, "the registry failed: try again")
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return holt.Wrap(holt.KindUnavailable, err, "the registry cannot be reached: check its name and the network")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return holt.Wrap(holt.KindUnavailable, err, "the connection to the registry broke: try again")
	}
	return holt.Wrap(holt.KindCorrupt, err, "the image is damaged")
}
