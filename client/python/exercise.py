"""Uses the client against a cluster: exercise.py HOST:PORT... Says what it does, line by line, and fails at the first surprise.

At "connected to HOST:PORT" it waits for a line on its standard input: whoever runs it ends that node meanwhile.
"""

import sys
import threading
import time

import lockd


def say(*words):
    print(*words, flush=True)


def refused(code, f, *args, **kwargs):
    """Calls f, which must be refused with this code."""
    try:
        f(*args, **kwargs)
    except lockd.Refused as e:
        assert e.code == code, e
    else:
        raise AssertionError(f"code {code} was expected")


def until(condition):
    """Waits for what another thread or the cluster is about to do."""
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "waited for 20 seconds"
        time.sleep(0.01)


def in_thread(f, *args, **kwargs):
    """Calls f in a thread, and returns a function that waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(f(*args, **kwargs)), daemon=True)
    thread.start()

    def result():
        thread.join(20)
        assert results, "no result within 20 seconds, or an error"
        return results[0]

    return result


def queue(session, name):
    state = session.get(name)
    return state["queue"] if state else 0


def keeps_alive(endpoints):
    ttl = 4
    with lockd.Session(endpoints, ttl=ttl, identity="exercise") as session:
        hold = session.acquire("python/short")
        say("acquired", hold.token)
        end = time.monotonic() + 1.4 * ttl
        while time.monotonic() < end:
            assert session.valid() > 0
            time.sleep(0.05)
        assert session.check(("python/short", hold.token)) == [lockd.VALID]
        say("kept alive past its TTL")
        session.release(hold)
        refused(8, session.release, hold)
        assert session.check(("python/short", hold.token)) == [lockd.FREE]
        say("released")


def waits(first, second):
    hold = first.acquire("python/queue", value=b"first")
    refused(5, second.acquire, "python/queue", wait=0)
    refused(6, second.acquire, "python/queue", wait=0.05)
    say("a try is refused, and a wait ends at its limit")
    granted = in_thread(second.acquire, "python/queue")
    until(lambda: queue(first, "python/queue") == 1)
    state = first.get("python/queue")
    assert state["holders"][0][0] == hold.token and state["holders"][0][10] == b"first", state
    first.release(hold)
    next_hold = granted()
    assert next_hold.token > hold.token and next_hold.floor == next_hold.token, (hold.token, next_hold.token)
    assert (next_hold.how_previous, next_hold.token_previous) == (lockd.RELEASED, hold.token)
    assert first.check(("python/queue", hold.token), ("python/queue", next_hold.token)) == [lockd.STALE, lockd.VALID]
    say("waited, and was granted when the holder released")

    refused(7, first.acquire, "python/queue", timeout=0.1)
    assert queue(second, "python/queue") == 0
    say("gave a wait up")
    second.set_value(next_hold, b"second")
    assert first.get("python/queue")["holders"][0][10] == b"second"
    second.release(next_hold)

    both = first.acquire("python/x", "python/y")
    refused(5, second.acquire, "python/y", wait=0)
    first.release(both)
    readers = [s.acquire("python/x", mode=lockd.SHARED, wait=0) for s in (first, second)]
    for session, hold in zip((first, second), readers):
        session.release(hold)
    say("held several at once, and shared one")


def leases(first, second):
    lease = first.lease("python/lease", ttl=10)
    first.renew(lease, ttl=20)
    taken = second.take(lease, ttl=10)
    assert taken.token > lease.token and taken.how_previous == lockd.HANDED_ON
    refused(9, first.renew, lease, ttl=10)
    until(lambda: first.check(("python/lease", lease.token)) == [lockd.STALE])
    waiting = in_thread(first.lease, "python/lease", ttl=10, wait=None)
    until(lambda: queue(second, "python/lease") == 1)
    second.release_lease(taken)
    last = waiting()
    assert last.token > taken.token and 0 < last.valid() < 10
    first.release_lease(last)
    refused(9, first.release_lease, last)
    say("took a lease, handed it on, and waited for one")


def survives(first, second):
    mine, yours = first.acquire("python/mine"), second.acquire("python/yours")
    granted = in_thread(first.acquire, "python/yours")
    until(lambda: queue(second, "python/yours") == 1)
    lost = first.address
    say("connected to", lost)
    sys.stdin.readline()
    until(lambda: first.address not in (None, lost))
    assert first.check(("python/mine", mine.token), ("python/yours", yours.token)) == [lockd.VALID, lockd.VALID]
    second.release(yours)
    assert granted().token > yours.token
    assert first.valid() > 0 and first.lost is None
    first.release(mine)
    say("lost its connection, and went on over another node")


def loses(endpoints, other):
    """A life whose validity has passed is lost, though nobody has told."""
    session = lockd.Session(endpoints, ttl=3)
    hold = session.acquire("python/lost")
    granted = in_thread(other.acquire, "python/lost")
    until(lambda: queue(other, "python/lost") == 1)
    session._next_beat = lockd.wire.now() + 10**12  # it sends no KeepAlive any more
    until(lambda: session.valid() == 0)
    try:
        session.release(hold)
    except lockd.Lost as e:
        say("lost:", e)
    else:
        raise AssertionError("a release in a life that is lost")
    again = granted()
    assert again.token > hold.token and again.how_previous in (lockd.CLOSED, lockd.EXPIRED), again.how_previous
    other.release(again)
    say("was told how the hold before it ended")


def main():
    endpoints = sys.argv[1:]
    keeps_alive(endpoints)
    with lockd.Session(endpoints, ttl=10) as first, lockd.Session(endpoints, ttl=10) as second:
        waits(first, second)
        leases(first, second)
        loses(endpoints, second)
        survives(first, second)
    say("done")


main()
