package tcp

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockd/lockd/raft"
)

const (
	// MaxAskBytes bounds a question and an answer of Ask.
	MaxAskBytes = 256 << 10
	// maxAsks is how many questions are answered at a time.
	maxAsks = 32
	// answerTime is how long an answer may take.
	answerTime = time.Minute
)

const (
	frameAsk      frameType = 112 + iota // a question
	frameAnswer                          // what was answered
	frameDeclined                        // why there is no answer, as text
)

// Asker is who asks, as it said in its handshake. It is only as true as the certificate of its connection.
type Asker struct {
	Cluster [16]byte
	ID      raft.PeerID
	// Address is where it says that it listens.
	Address string
}

// DeclinedError says that the node that was asked did not answer, and why.
type DeclinedError struct{ Reason string }

func (e *DeclinedError) Error() string { return e.Reason }

// Ask sends a question of the caller's own making to the node that listens at address, whatever its cluster, and returns its answer:
// what the Options.Answer of that node returned. It works before Start, on both sides. The error wraps raft.ErrUnreachable when nobody
// answered, in which case the question may have been heard; or it is a *RefusedError or a *DeclinedError. Ask blocks until the answer
// is there or ctx ends.
func (t *Transport) Ask(ctx context.Context, address string, question []byte) ([]byte, error) {
	if len(question) > MaxAskBytes {
		return nil, fmt.Errorf("ask %s: the question has %d bytes, more than %d", address, len(question), MaxAskBytes)
	}
	k, _, err := t.dial(ctx, address, hello{purpose: forAsk})
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", address, err)
	}
	defer k.fail(nil)
	defer context.AfterFunc(ctx, func() { k.fail(context.Cause(ctx)) })()
	answer, err := exchange(k, question)
	if err == nil {
		return answer, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if _, declined := errors.AsType[*DeclinedError](err); !declined {
		err = fmt.Errorf("%w: %w", raft.ErrUnreachable, err)
	}
	return nil, fmt.Errorf("ask %s: %w", address, err)
}

func exchange(k *link, question []byte) ([]byte, error) {
	if _, err := k.Write(append(appendFrameHead(nil, frameAsk, len(question)), question...)); err != nil {
		return nil, err
	}
	f, err := newFrameReader(k, readBuffer, 1+MaxAskBytes).next()
	if err != nil {
		return nil, unexpected(err)
	}
	body := append([]byte(nil), f.body...)
	if f.kind == frameDeclined {
		return nil, &DeclinedError{Reason: string(body)}
	}
	if f.kind == frameAnswer {
		return body, nil
	}
	return nil, fmt.Errorf("%w: type %d for an answer", errFrame, f.kind)
}

// answerAsk answers one question. The error is why there was none.
func (t *Transport) answerAsk(ctx context.Context, k *link, h hello) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_ = k.SetReadDeadline(time.Now().Add(t.o.Limits.Handshake))
	f, err := newFrameReader(k, readBuffer, 1+MaxAskBytes).next()
	if err != nil {
		return unexpected(err)
	}
	if f.kind != frameAsk {
		return fmt.Errorf("%w: type %d for a question", errFrame, f.kind)
	}
	answer, err := t.o.Answer(ctx, Asker{Cluster: h.cluster, ID: h.from, Address: h.reply}, append([]byte(nil), f.body...))
	kind := frameAnswer
	if err == nil && len(answer) > MaxAskBytes {
		err = fmt.Errorf("the answer has %d bytes, more than %d", len(answer), MaxAskBytes)
	}
	if err != nil {
		reason := err.Error()
		kind, answer = frameDeclined, []byte(reason[:min(len(reason), MaxAskBytes)])
	}
	_ = k.SetWriteDeadline(time.Now().Add(t.o.Limits.Write))
	_, err = k.Write(append(appendFrameHead(nil, kind, len(answer)), answer...))
	return err
}
