"""Frames, numbers and connections: client/README.md sections 1, 2, 8 and 13."""

import itertools
import socket
import struct
import time

import msgpack

HELLO, WELCOME, GOODBYE, KEEPALIVE, KEEPALIVE_ANSWER = 0x01, 0x02, 0x03, 0x04, 0x05
OPEN, CLOSE, ACQUIRE, RELEASE, CANCEL, SET_VALUE = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
RENEW_LEASE, RELEASE_LEASE, TAKE_LEASE = 0x16, 0x17, 0x18
CHECK_TOKENS, GET = 0x20, 0x21
WAIT_OVER, REVOKED, SESSION_ENDED, NODES, NO_QUORUM = 0x40, 0x41, 0x42, 0x45, 0x46
REPLY, FAILURE = 0x80, 0x81

EXCLUSIVE, SHARED, SLOT = 1, 2, 3
RENEWED, ENDED = 1, 3  # verdicts on a KeepAlive
VALID, STALE, FREE = 1, 2, 3  # what CheckTokens says
RELEASED, CLOSED, EXPIRED, BROKEN, HANDED_ON = 1, 2, 3, 4, 5  # how a hold ended
OK, GRANTED, REENTERED, QUEUED, SESSION_UNKNOWN, WRONG_CLUSTER = 1, 2, 3, 4, 12, 104
OUTCOMES = {
    1: "ok", 2: "granted", 3: "reentered", 4: "queued", 5: "held", 6: "timed out", 7: "cancelled", 8: "not held", 9: "gone",
    10: "already held", 11: "wrong kind", 12: "session unknown", 13: "stale", 14: "window full", 15: "invalid", 16: "embargo",
    17: "too many holds", 18: "too many waits", 19: "too many waiters", 20: "too many of the session here",
}
AGAIN = {107, 108}  # codes of a failure after which a request is repeated
ELSEWHERE = {109, 110, 111, 112, 113}  # the same, over another node

FRAME_MAX, WINDOW, SEEN_MAX = 1 << 20, 1024, 64
SECOND = 10**9
FOREVER = 2**63 - 1
NOBODY = bytes(16)
DIAL = 2.0  # seconds for a connection and its Welcome


def now():
    """The monotonic clock that counts suspends, where there is one [3]."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Refused(Exception):
    """The cluster's final answer to a request, or a node's to a connection."""

    def __init__(self, code, text=""):
        super().__init__(f"{text or OUTCOMES.get(code, 'refused')} (code {code})")
        self.code = code


class Link:
    """A connection that has been welcomed [1, 2]."""

    def __init__(self, address, hello):
        host, port = address.rsplit(":", 1)
        self.address, self.calls, self.ids = address, {}, itertools.count(1)
        self.socket = socket.create_connection((host.strip("[]"), int(port)), DIAL)
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.send(HELLO, hello)
            kind, fields = self.read()
            if kind == GOODBYE:
                raise Refused(fields[0], fields[1])
            if kind != WELCOME or fields[0] != 1:
                raise OSError(f"message 0x{kind:02x} instead of Welcome")
            self.welcome = fields
            self.socket.settimeout(None)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(DIAL), 0))
        except BaseException:
            self.socket.close()
            raise

    def send(self, kind, fields):
        body = msgpack.packb(fields, use_bin_type=True)
        self.socket.sendall(struct.pack(">IB", len(body) + 1, kind) + body)

    def read(self):
        (length,) = struct.unpack(">I", self._exactly(4))
        if not 2 <= length <= FRAME_MAX:
            raise OSError(f"a frame of {length} bytes: this is not lockd")
        data = self._exactly(length)
        return data[0], msgpack.unpackb(data[1:], raw=False)

    def _exactly(self, n):
        parts = []
        while n:
            part = self.socket.recv(min(n, 1 << 16))
            if not part:
                raise OSError("the node has closed the connection")
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
