"""A client for lockd, written from client/README.md alone. Numbers in brackets are sections of that page.

    with lockd.Session(["127.0.0.1:7400"], ttl=15) as session:
        hold = session.acquire("jobs/nightly")
        ... session.valid() ... hold.token ...
        session.release(hold)

A Session is one life of a session [3]. It has one connection, and another one when that breaks [9]. Its methods block, and may
be called by several threads at once. When it is lost they raise Lost; open another one then. Seconds at the surface are
nanoseconds inside. Needs Debian's python3-msgpack.
"""

from .holds import Hold, Lease, Lost
from .session import Session
from .wire import BROKEN, CLOSED, EXCLUSIVE, EXPIRED, FREE, HANDED_ON, RELEASED, SHARED, SLOT, STALE, VALID, Refused
