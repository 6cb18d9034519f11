"""What a session holds, and for how long."""

from .wire import SECOND, now


def validity(span):
    """How long a confirmation reaches, and the margin in it [3]."""
    margin = min(span // 10, SECOND)
    return span // 100 * 99 - margin, margin


class Lost(Exception):
    """The session is over, and with it all it held."""


class Hold:
    """A lock, or several, that this session holds."""

    def __init__(self, names, outcome):
        self.names, self.token, self.floor, self.behind = names, outcome[1], outcome[2], outcome[5]
        self.how_previous, self.token_previous = outcome[6][:2]
        self.revoked = None  # how somebody else ended it


class Lease(Hold):
    """A hold with a time of its own, which outlives its session [6]."""

    def __init__(self, names, outcome, lease):
        super().__init__(names, outcome)
        self.id, self.until = lease, 0  # until: of the clock of wire.now()

    def valid(self):
        """How many seconds longer it is held, if it is not renewed and not taken over."""
        return max(self.until - now(), 0) / SECOND
