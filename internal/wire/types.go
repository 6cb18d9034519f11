package wire

import (
	"fmt"
	"reflect"
)

// Type is the byte that says what the body of a frame is. The numbers never change their meaning.
type Type uint8

// Ranges of types. They tell what to do with a type that is not known: see [Unknown].
const (
	firstRequest Type = 0x10 // below: the connection and its sessions
	firstPush    Type = 0x40 // below: requests, each with exactly one answer
	firstPeer    Type = 0x60 // below: what a node tells unasked
	firstReply   Type = 0x80 // below: between nodes; from here on: answers to requests
)

// The types. 0x28, 0x29, 0x43 and 0x44 are kept free for Watch, Observe, Changed and Resync.
const (
	TypeHello           Type = 0x01
	TypeWelcome         Type = 0x02
	TypeGoodbye         Type = 0x03
	TypeKeepAlive       Type = 0x04
	TypeKeepAliveAnswer Type = 0x05

	TypeOpen         Type = 0x10
	TypeClose        Type = 0x11
	TypeAcquire      Type = 0x12
	TypeRelease      Type = 0x13
	TypeCancel       Type = 0x14
	TypeSetValue     Type = 0x15
	TypeRenewLease   Type = 0x16
	TypeReleaseLease Type = 0x17
	TypeTakeLease    Type = 0x18
	TypeCheckTokens  Type = 0x20
	TypeGet          Type = 0x21
	TypeList         Type = 0x22
	TypeGetSession   Type = 0x23
	TypeListSessions Type = 0x24
	TypeStatus       Type = 0x25

	TypeWaitOver     Type = 0x40
	TypeRevoked      Type = 0x41
	TypeSessionEnded Type = 0x42
	TypeNodes        Type = 0x45
	TypeNoQuorum     Type = 0x46

	TypeDigest       Type = 0x60
	TypeDigestAnswer Type = 0x61
	TypeDisconnected Type = 0x62
	TypeForward      Type = 0x63
	TypeForwarded    Type = 0x64

	TypeReply        Type = 0x80
	TypeFailure      Type = 0x81
	TypeTokensReply  Type = 0x90
	TypeLockReply    Type = 0x91
	TypeListReply    Type = 0x92
	TypeSessionReply Type = 0x93
	TypeStatusReply  Type = 0x95
)

// Message is a pointer to one of the structs of this package that have a Type: the body of one frame.
type Message interface{ Type() Type }

// Type returns the type of the message.
func (*Hello) Type() Type { return TypeHello }

// Type returns the type of the message.
func (*Welcome) Type() Type { return TypeWelcome }

// Type returns the type of the message.
func (*Goodbye) Type() Type { return TypeGoodbye }

// Type returns the type of the message.
func (*KeepAlive) Type() Type { return TypeKeepAlive }

// Type returns the type of the message.
func (*KeepAliveAnswer) Type() Type { return TypeKeepAliveAnswer }

// Type returns the type of the message.
func (*Open) Type() Type { return TypeOpen }

// Type returns the type of the message.
func (*Close) Type() Type { return TypeClose }

// Type returns the type of the message.
func (*Acquire) Type() Type { return TypeAcquire }

// Type returns the type of the message.
func (*Release) Type() Type { return TypeRelease }

// Type returns the type of the message.
func (*Cancel) Type() Type { return TypeCancel }

// Type returns the type of the message.
func (*SetValue) Type() Type { return TypeSetValue }

// Type returns the type of the message.
func (*RenewLease) Type() Type { return TypeRenewLease }

// Type returns the type of the message.
func (*ReleaseLease) Type() Type { return TypeReleaseLease }

// Type returns the type of the message.
func (*TakeLease) Type() Type { return TypeTakeLease }

// Type returns the type of the message.
func (*CheckTokens) Type() Type { return TypeCheckTokens }

// Type returns the type of the message.
func (*Get) Type() Type { return TypeGet }

// Type returns the type of the message.
func (*List) Type() Type { return TypeList }

// Type returns the type of the message.
func (*GetSession) Type() Type { return TypeGetSession }

// Type returns the type of the message.
func (*ListSessions) Type() Type { return TypeListSessions }

// Type returns the type of the message.
func (*Status) Type() Type { return TypeStatus }

// Type returns the type of the message.
func (*WaitOver) Type() Type { return TypeWaitOver }

// Type returns the type of the message.
func (*Revoked) Type() Type { return TypeRevoked }

// Type returns the type of the message.
func (*SessionEnded) Type() Type { return TypeSessionEnded }

// Type returns the type of the message.
func (*Nodes) Type() Type { return TypeNodes }

// Type returns the type of the message.
func (*NoQuorum) Type() Type { return TypeNoQuorum }

// Type returns the type of the message.
func (*Digest) Type() Type { return TypeDigest }

// Type returns the type of the message.
func (*DigestAnswer) Type() Type { return TypeDigestAnswer }

// Type returns the type of the message.
func (*Disconnected) Type() Type { return TypeDisconnected }

// Type returns the type of the message.
func (*Forward) Type() Type { return TypeForward }

// Type returns the type of the message.
func (*Forwarded) Type() Type { return TypeForwarded }

// Type returns the type of the message.
func (*Reply) Type() Type { return TypeReply }

// Type returns the type of the message.
func (*Failure) Type() Type { return TypeFailure }

// Type returns the type of the message.
func (*TokensReply) Type() Type { return TypeTokensReply }

// Type returns the type of the message.
func (*LockReply) Type() Type { return TypeLockReply }

// Type returns the type of the message.
func (*ListReply) Type() Type { return TypeListReply }

// Type returns the type of the message.
func (*SessionReply) Type() Type { return TypeSessionReply }

// Type returns the type of the message.
func (*StatusReply) Type() Type { return TypeStatusReply }

// Unknown stands for a frame of a type that this version does not know. It cannot be written.
type Unknown struct {
	Kind Type
	ID   uint64 // of a request: what Failure must name
}

// Type returns the type that is not known.
func (u *Unknown) Type() Type { return u.Kind }

// IsRequest reports whether the frame wants an answer: a [Failure] with the code Unsupported. All others are to be ignored.
func (u *Unknown) IsRequest() bool { return firstRequest <= u.Kind && u.Kind < firstPush }

// entry is what the codec knows of a type.
type entry struct {
	name  string
	goal  reflect.Type
	fresh func() Message
	shape *shape
}

// registry finds the entry of a type. It never changes.
var registry = register(
	fresh[Hello], fresh[Welcome], fresh[Goodbye], fresh[KeepAlive], fresh[KeepAliveAnswer],
	fresh[Open], fresh[Close], fresh[Acquire], fresh[Release], fresh[Cancel], fresh[SetValue],
	fresh[RenewLease], fresh[ReleaseLease], fresh[TakeLease],
	fresh[CheckTokens], fresh[Get], fresh[List], fresh[GetSession], fresh[ListSessions], fresh[Status],
	fresh[WaitOver], fresh[Revoked], fresh[SessionEnded], fresh[Nodes], fresh[NoQuorum],
	fresh[Digest], fresh[DigestAnswer], fresh[Disconnected], fresh[Forward], fresh[Forwarded],
	fresh[Reply], fresh[Failure], fresh[TokensReply], fresh[LockReply], fresh[ListReply], fresh[SessionReply], fresh[StatusReply],
)

func fresh[T any, M interface {
	*T
	Message
}]() Message {
	return M(new(T))
}

func register(all ...func() Message) (r [256]*entry) {
	for _, fresh := range all {
		m := fresh()
		goal := reflect.TypeOf(m)
		if r[m.Type()] != nil {
			panic(fmt.Sprintf("two messages of type %#02x", uint8(m.Type())))
		}
		r[m.Type()] = &entry{name: goal.Elem().Name(), goal: goal, fresh: fresh, shape: shapeOf(goal.Elem(), "")}
	}
	return r
}

// String returns the name of the message of this type, or its number.
func (t Type) String() string {
	if e := registry[t]; e != nil {
		return e.name
	}
	return fmt.Sprintf("type 0x%02x", uint8(t))
}
