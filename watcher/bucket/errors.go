package bucket

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
)

// maxMessage bounds how much of a server's message is passed on.
const maxMessage = 200 // bytes

// refusal is what a server answered in place of what it was asked for.
type refusal struct {
	status int
	code   string // as S3 names it
	text   string
}

func (r *refusal) Error() string { return r.text }

// reason says in a sentence what went wrong. It drops URLs, headers and pages of
// text, of which nobody knows what they contain.
func (b *Bucket) reason(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		if strings.Contains(u.Err.Error(), u.URL) {
			return fmt.Errorf("%s does not answer: the connection was closed", b.server) // in the client's words, with the URL
		}
		return fmt.Errorf("%s does not answer: %w", b.server, u.Err)
	}
	a, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		return err
	}
	r := &refusal{status: a.StatusCode, code: a.Code}
	switch a.Code {
	case minio.NoSuchBucket:
		r.text = fmt.Sprintf("%s has no bucket of that name", b.server)
	case minio.AccessDenied:
		r.text = fmt.Sprintf("%s refuses access; check what the credentials may do", b.server)
		if b.anonymous {
			r.text = fmt.Sprintf("%s refuses anonymous access; give credentials", b.server)
		}
	case "RequestTimeTooSkewed":
		r.text = fmt.Sprintf("%s finds this machine's clock wrong; set the time of one of the two", b.server)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken":
		r.text = fmt.Sprintf("%s does not take the credentials (%s)", b.server, a.Code)
	default:
		message, _, _ := strings.Cut(strings.TrimSpace(a.Message), "\n")
		if len(message) > maxMessage {
			message = message[:maxMessage] + "…"
		}
		r.text = strings.ToValidUTF8(fmt.Sprintf("%s answers: %s (%s)", b.server, message, a.Code), "�")
	}
	return r
}

// impossible reports whether the server says that it has no keys of that kind: MinIO
// has none that cannot be paths of files.
func impossible(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && (r.code == "XMinioInvalidObjectName" || r.code == "XMinioInvalidResourceName")
}

// denied reports whether the server says that it does not do that, or not for
// these credentials, while the bucket may well be listed.
func denied(err error) bool {
	r, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		return false
	}
	switch r.Code {
	case minio.AccessDenied, "MethodNotAllowed", "InvalidRequest", "InvalidArgument", "UnsupportedOperation", "VersioningNotConfigured":
		return true
	}
	return r.StatusCode == http.StatusNotImplemented || r.StatusCode == http.StatusMethodNotAllowed
}

// missing reports whether the server says that there is no such object.
func missing(err error) bool {
	r, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && r.StatusCode == http.StatusNotFound && r.Code != minio.NoSuchBucket
}

// differs reports whether the server says that the object is not what was asked
// for: another ETag, or an end before the range.
func differs(err error) bool {
	r, ok := errors.AsType[minio.ErrorResponse](err)
	return ok && (r.StatusCode == http.StatusPreconditionFailed || r.StatusCode == http.StatusRequestedRangeNotSatisfiable)
}
