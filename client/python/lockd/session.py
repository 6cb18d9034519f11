"""Sessions, exactly-once commands, locks and leases: client/README.md sections 3 to 9."""

import itertools
import os
import random
import threading

import msgpack

from .holds import Hold, Lease, Lost, validity
from .wire import *


class _Call:
    """A request until it is answered. fields() returns what follows its id and trace, as it is to be sent now."""

    def __init__(self, kind, fields, seq=None):
        self.kind, self.fields, self.seq = kind, fields, seq
        self.first = self.sent = None  # when it was sent first, and when what was answered was sent
        self.due, self.pause = 0, SECOND // 40  # when to send it next, never if None; the pause after a failure
        self.not_before = 0  # after a failure
        self.waiting = self.done = self.given_up = False
        self.seen, self.answer, self.error = [], None, None


class Session:
    """One life of a session, kept alive until it is closed or lost."""

    def __init__(self, endpoints, ttl=15.0, grace=0.0, identity=""):
        self.id, self.index, self.lost = os.urandom(16), None, None
        self._ttl = int(ttl * SECOND)
        self._span = min(self._ttl, int(grace * SECOND) or self._ttl)
        self._reach, self._margin = validity(self._span)
        self._valid_until = self._rests_on = self._tie = 0
        self._number, self._beats, self._next_beat = 0, {}, 0
        self._seq, self._acked, self._known, self._seen = 0, 0, set(), []
        self._calls, self._waits, self._holds, self._revoked = [], {}, {}, {}
        self._owners = itertools.count(1)
        self._endpoints, self._nodes, self._cluster = list(endpoints), [], (NOBODY, NOBODY)
        self._link, self._avoid, self._link_pause, self._stopped = None, None, 0.025, False
        self._cond = threading.Condition()
        threading.Thread(target=self._keep, daemon=True).start()
        metadata = msgpack.packb([identity, os.uname().nodename, os.getpid(), None], use_bin_type=True)
        body = [self.id, self._ttl, int(grace * SECOND), metadata]
        try:
            self._await(self._start(_Call(OPEN, lambda: body)))
        except BaseException:
            self._stop()
            raise

    # What an application calls.

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def address(self):
        """The node that the session is connected to, None while it is not."""
        link = self._link
        return link and link.address

    def valid(self):
        """How many seconds longer everything is held if nothing is heard any more; 0: it is lost."""
        with self._cond:
            return max(self._valid_until - now(), 0) / SECOND if self.lost is None else 0

    def jeopardy(self):
        """Whether more than half of the validity has been used up without a confirmation."""
        return self.valid() <= self._reach / 2 / SECOND

    def acquire(self, *names, mode=EXCLUSIVE, limit=0, wait=None, timeout=None, owner=None, reentrant=False, delay=0, value=b""):
        """Acquires all of the names, or none. wait: seconds that the cluster bounds, 0 for a try, None for ever. timeout: seconds
        after which this client gives up by Cancel. Returns a Hold; raises Refused with the outcome's code."""
        call = self._acquire(names, mode, limit, wait, owner, reentrant, delay, value, NOBODY, 0)
        outcome = self._outcome(call, timeout, names[0])
        with self._cond:
            hold = self._holds.setdefault(outcome[1], Hold(names, outcome))
            hold.revoked = self._revoked.pop(hold.token, hold.revoked)  # the event may come before the answer
        return hold

    def release(self, hold):
        """Ends a hold, or one level of it."""
        with self._cond:
            self._holds.pop(hold.token, None)
        self._command(RELEASE, [hold.names[0], hold.token])

    def set_value(self, hold, value):
        self._command(SET_VALUE, [hold.names[0], hold.token, getattr(hold, "id", NOBODY), value])

    def lease(self, *names, ttl, wait=0, timeout=None, value=b""):
        """Acquires a lease of ttl seconds, which outlives the session."""
        lease = os.urandom(16)
        call = self._acquire(names, EXCLUSIVE, 0, wait, None, False, 0, value, lease, int(ttl * SECOND))
        got = Lease(names, self._outcome(call, timeout, names[0]), lease)
        if call.waiting:  # nobody knows how long ago it was granted
            self.renew(got, ttl)
        else:
            got.until = call.first + validity(int(ttl * SECOND))[0]
        return got

    def renew(self, lease, ttl):
        call = self._lease(RENEW_LEASE, [lease.names[0], lease.id, lease.token, int(ttl * SECOND)])
        lease.until = max(lease.until, call.sent + validity(int(ttl * SECOND))[0])

    def release_lease(self, lease):
        self._lease(RELEASE_LEASE, [lease.names[0], lease.id, lease.token])

    def take(self, lease, ttl):
        """Takes a lease over from whoever has it: a new token and a new id. Only names, id and token of the old one are used."""
        new = os.urandom(16)
        call = self._lease(TAKE_LEASE, [lease.names[0], lease.id, lease.token, new, int(ttl * SECOND), None])
        got = Lease(lease.names, call.answer[3], new)
        got.until = call.first + validity(int(ttl * SECOND))[0]
        return got

    def check(self, *tokens):
        """Says of each (name, token) whether it is VALID, STALE or FREE."""
        call = self._await(self._start(_Call(CHECK_TOKENS, lambda: [[list(t) for t in tokens]])))
        return [check[0] for check in call.answer[3]]

    def get(self, name, most=10):
        """Returns what the cluster tells of a lock, as a dict, or None if nobody holds it and nobody waits."""
        call = self._await(self._start(_Call(GET, lambda: [False, name, most])))
        fields = ["name", "limit", "held", "queue", "floor", "newest", "last", "holders", "waiters"]
        return dict(zip(fields, call.answer[5])) if call.answer[4] else None

    def close(self):
        """Ends the session and releases all it holds."""
        if self.lost is not None:
            return  # the cluster is being told
        try:
            self._await(self._start(_Call(CLOSE, lambda: [[self.id, self.index]])))
        except (Refused, Lost):
            pass
        finally:
            self._stop()

    # Requests, exactly once [4].

    def _acquire(self, names, mode, limit, wait, owner, reentrant, delay, value, lease, ttl):
        body = [list(names), mode, limit, FOREVER if wait is None else int(wait * SECOND), owner or next(self._owners), reentrant]
        return self._numbered(ACQUIRE, body + [int(delay * SECOND), lease, ttl, value, None])

    def _outcome(self, call, timeout, name):
        """Waits for an Acquire, and gives it up when the time is over: exactly one of both has happened then."""
        with self._cond:
            call.given_up = not self._cond.wait_for(lambda: call.done, timeout)  # from here on only the Cancel is repeated
        if call.given_up:
            code = self._await(self._numbered(CANCEL, [call.seq, name])).answer[3][0]
            with self._cond:
                self._settled(call, waited=True)
                self._finish(call)
            raise Refused(code, "given up" + (", and released the grant" if code == GRANTED else ""))
        outcome = self._await(call).answer[3]
        if outcome[0] not in (GRANTED, REENTERED):
            raise Refused(outcome[0])
        return outcome

    def _command(self, kind, body):
        call = self._await(self._numbered(kind, body))
        if call.answer[3][0] != OK:
            raise Refused(call.answer[3][0])

    def _lease(self, kind, body):
        call = self._await(self._start(_Call(kind, lambda: body)))
        if call.answer[3][0] not in (OK, GRANTED):
            raise Refused(call.answer[3][0])
        return call

    def _numbered(self, kind, body):
        with self._cond:
            while self._seq >= self._acked + WINDOW and self.lost is None:
                self._cond.wait()
            self._seq += 1
            call = _Call(kind, None, self._seq)
            call.seen = self._seen[:SEEN_MAX]
            call.fields = lambda: [[[self.id, self.index], call.seq, self._acked, call.seen]] + body
            if kind == ACQUIRE:
                self._waits[call.seq] = call
        return self._start(call)

    def _start(self, call):
        with self._cond:
            if self._stopped or self.lost is not None:
                raise Lost(self.lost or "the session is closed")
            self._calls.append(call)
            self._cond.notify_all()
        return call

    def _await(self, call):
        with self._cond:
            self._cond.wait_for(lambda: call.done)
        if call.error:
            raise call.error
        return call

    def _settled(self, call, waited=False):
        """Notes that the outcome of a command is known, and that what it named as seen has arrived."""
        if call.seq is None:
            return
        if call.seq > self._acked:
            self._known.add(call.seq)
        while self._acked + 1 in self._known:
            self._acked += 1
            self._known.remove(self._acked)
        self._seen = [s for s in self._seen if s not in call.seen]
        if waited:
            self._seen.append(call.seq)

    def _finish(self, call, answer=None, error=None):
        call.answer, call.error, call.done = answer, error, True
        if call in self._calls:
            self._calls.remove(call)
        self._waits.pop(call.seq, None)
        self._cond.notify_all()

    # The connection [9], KeepAlives and validity [3]. What follows is called with the lock held, but for the threads' functions.

    def _keep(self):
        """The session's thread: sends what is due, and connects anew when the connection is gone."""
        while True:
            with self._cond:
                self._expire(now())
                if self.lost is not None and (not self._calls or now() > self._close_until):
                    self._stop()
                if self._stopped:
                    return
                if self._link is not None:
                    self._cond.wait(self._work())
                    continue
            self._dial()

    def _work(self):
        """Sends what is due, and returns the seconds until more is."""
        t = now()
        alive = self.index is not None and self.lost is None
        try:
            if alive and t >= self._next_beat:
                self._number += 1
                self._beats[self._number], self._next_beat = t, t + self._span // 5
                self._link.send(KEEPALIVE, [[self.id, self.index], self._number, 0])
            for call in self._pending():
                if call.due <= t:
                    self._send(call)
        except OSError:
            return self._drop(self._link)
        if t - min(self._beats.values(), default=t) > 2 * self._span // 5:
            return self._drop(self._link)  # a node that does not confirm is left for another one
        due = [c.due for c in self._pending()] + [t + SECOND]
        return max(min(due + [self._next_beat, self._valid_until] if alive else due) - t, 0) / SECOND

    def _pending(self):
        return [c for c in self._calls if not c.given_up and c.due is not None]

    def _send(self, call):
        t, number = now(), next(self._link.ids)
        call.first, call.due = call.first or t, t + min(self._span // 5, SECOND)
        self._link.calls[number] = (call, t)
        self._link.send(call.kind, [number, None] + call.fields())

    def _dial(self):
        with self._cond:
            known = list(dict.fromkeys(self._endpoints + self._nodes))
            address = random.choice([a for a in known if a != self._avoid] or known)
            hello = ["lockd", 1, 1, 1, *self._cluster, "lockd-python/1", None, 0, 0, 0]
        try:
            link = Link(address, hello)
        except (OSError, ValueError, Refused, msgpack.exceptions.UnpackException) as e:
            with self._cond:
                self._avoid = address
                if isinstance(e, Refused) and e.code not in AGAIN | ELSEWHERE:
                    self._lose(str(e))
                    self._stop()
                self._cond.wait(self._link_pause * random.uniform(0.5, 1))
                self._link_pause = min(2 * self._link_pause, 1)
            return
        with self._cond:
            self._link, self._link_pause, self._next_beat = link, 0.025, 0
            self._cluster, self._nodes = tuple(link.welcome[1:3]), [node[2] for node in link.welcome[8]]
            for call in self._calls:
                call.due = call.not_before
        threading.Thread(target=self._receive, args=(link,), daemon=True).start()

    def _drop(self, link):
        link.close()
        if self._link is link:
            self._link, self._avoid = None, link.address
            self._beats.clear()
            self._cond.notify_all()
        return 0

    def _receive(self, link):
        """A connection's thread."""
        try:
            while True:
                kind, fields = link.read()
                with self._cond:
                    self._handle(link, kind, fields)
        except (OSError, ValueError, LookupError, TypeError, msgpack.exceptions.UnpackException):
            with self._cond:
                self._drop(link)

    def _handle(self, link, kind, f):
        t, ours = now(), [self.id, self.index]
        self._expire(t)
        clock = {KEEPALIVE_ANSWER: 4, REPLY: 2, WAIT_OVER: 3, REVOKED: 5, SESSION_ENDED: 3}.get(kind)
        if clock and self.index and f[clock] > t + self._tie + self._margin + (t - self._rests_on) // 100:
            self._lose("the clock of this machine stood still")
        if kind == KEEPALIVE_ANSWER and f[0] == ours:
            self._confirmed(f[1], f[2], f[4])
        elif kind == WAIT_OVER and f[0] == ours and f[1] in self._waits and not self._waits[f[1]].given_up:
            call = self._waits[f[1]]
            call.waiting = True
            self._settled(call, waited=True)
            self._finish(call, [None, *f[2:5]])
        elif kind == REVOKED and f[2] in self._holds:
            self._holds[f[2]].revoked = f[3]
        elif kind == REVOKED:
            self._revoked[f[2]] = f[3]
        elif kind == SESSION_ENDED and f[0] == ours:
            self._lose(f"the session has ended (how {f[1]})")
        elif kind == NODES:
            self._nodes = [node[2] for node in f[1]]
        elif kind in (NO_QUORUM, GOODBYE):
            self._drop(link)
        elif kind >= REPLY and f[0] in link.calls:
            call, sent = link.calls.pop(f[0])
            if not call.done and not call.given_up:
                self._answered(link, call, sent, kind, f)

    def _confirmed(self, number, verdict, clock):
        sent = self._beats.get(number)
        self._beats = {n: at for n, at in self._beats.items() if n > number}
        if verdict == ENDED:
            self._lose("the session has ended")
        elif verdict == RENEWED and sent and self.lost is None and sent > self._rests_on:
            self._valid_until, self._rests_on, self._tie = sent + self._reach, sent, clock - sent

    def _answered(self, link, call, sent, kind, f):
        call.sent = sent
        if kind == FAILURE:
            code, known, wait, text = f[1:5]
            if known and code not in AGAIN | ELSEWHERE:
                self._settled(call)
                return self._finish(call, error=Refused(code, text))
            call.due = call.not_before = now() + max(wait, call.pause)
            call.pause = min(2 * call.pause, SECOND * 8 // 10)
            return self._drop(link) if code in ELSEWHERE and len(self._endpoints + self._nodes) > 1 else None
        code = f[3][0] if kind == REPLY else OK
        if code == SESSION_UNKNOWN and call.seq:
            return self._lose("the session has ended")
        if call.kind == OPEN and code != OK:
            return self._finish(call, error=Refused(code))
        if call.kind == OPEN:
            self.index, self._rests_on, self._tie = f[1], call.first, f[2] - call.first
            self._valid_until = call.first + self._reach
            self._next_beat = now() + int(self._span * random.uniform(0.1, 0.2))
        self._settled(call, waited=call.waiting and code != QUEUED)
        if code == QUEUED:
            call.waiting, call.due = True, None  # WaitOver follows
        else:
            self._finish(call, f)

    def _expire(self, t):
        if self.index is not None and self.lost is None and t >= self._valid_until:
            self._lose("no confirmation came in time")

    def _lose(self, reason):
        """Ends the session here. The cluster is told until it answers, for as long as it may remember."""
        if self.lost is not None:
            return
        self.lost = reason
        for call in list(self._calls):
            self._finish(call, error=Lost(reason))
        if self.index is not None:
            self._calls.append(_Call(CLOSE, lambda: [[self.id, self.index]]))
        self._close_until = now() + self._ttl

    def _stop(self):
        with self._cond:
            self._stopped = True
            for call in list(self._calls):
                self._finish(call, error=Lost(self.lost or "the session is closed"))
            if self._link is not None:
                self._link.close()
