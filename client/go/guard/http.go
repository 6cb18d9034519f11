package guard

import (
	"errors"
	"net/http"
	"strconv"
)

// The headers of a request that is made under a lock.
const (
	TokenHeader = "Lockd-Token" // Lock.Token
	FloorHeader = "Lockd-Floor" // Lock.Floor; may be left out for an exclusive lock, where it is the token
)

// SetHeader says in the header of a request under which hold it is made.
func SetHeader(h http.Header, floor, token uint64) {
	h.Set(TokenHeader, strconv.FormatUint(token, 10))
	h.Set(FloorHeader, strconv.FormatUint(floor, 10))
}

// Middleware hands on to next only requests whose token the gate admits for the resource that the request is about. Others are
// answered with 428 (no token), 400 (not a number) or 412 (stale). Two requests that were admitted may run at the same time: next has to
// order them itself, or check the token again beside its data.
func (g *Gate) Middleware(resource func(*http.Request) string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		floor, token, status, err := hold(r.Header)
		if err == nil {
			status, err = http.StatusPreconditionFailed, g.Admit(resource(r), floor, token)
		}
		if err != nil {
			http.Error(w, err.Error(), status)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hold reads the headers of a request.
func hold(h http.Header) (floor, token uint64, status int, err error) {
	text := h.Get(TokenHeader)
	if text == "" {
		return 0, 0, http.StatusPreconditionRequired, errors.New("the header " + TokenHeader + " is missing: this needs a lock")
	}
	if token, err = strconv.ParseUint(text, 10, 64); err != nil {
		return 0, 0, http.StatusBadRequest, errors.New("the header " + TokenHeader + " is not a number")
	}
	floor = token
	if text = h.Get(FloorHeader); text != "" {
		if floor, err = strconv.ParseUint(text, 10, 64); err != nil || floor > token {
			return 0, 0, http.StatusBadRequest, errors.New("the header " + FloorHeader + " is not a number up to the token")
		}
	}
	return floor, token, 0, nil
}
