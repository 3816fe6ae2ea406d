"""Shares: what each client may use at once of a limit that all clients share."""

import math


class Shares:
    """Counts what each client uses of `limit` units (0: no limit).

    While not all are in use, a client may take any number. Otherwise it may have its even share:
    `limit` divided by the clients that use any. So a client that comes later finds room, and the
    units in use exceed the limit until the others have fallen to their share.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit or math.inf
        self._used: dict[str, int] = {}
        self.in_use = 0

    def take(self, client: str, units: int) -> None:
        self._used[client] = self._used.get(client, 0) + units
        self.in_use += units

    def give_back(self, client: str, units: int) -> None:
        self.in_use -= units
        self._used[client] -= units
        if not self._used[client]:
            del self._used[client]

    def exceeded(self, client: str, units: int) -> bool:
        """Return whether `client`, which has taken `units`, has to give them back.

        The only request of a client may always stay.
        """
        if self.in_use <= self._limit:
            return False
        return self._used[client] > max(units, self._limit / len(self._used))
