"""Who looks at what, and what changed there: one watch for all who look.

A client that does not listen costs a set of names: what it missed is merged, never queued.
Nothing is looked at while nobody listens. All of it runs in one event loop; reading and
rendering go to a thread, one at a time per page.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from collapse_lm.errors import UserError
from collapse_lm.view.budget import Budget
from collapse_lm.view.folder import Folder
from collapse_lm.view.pages import LivePage, Made

_LOG = logging.getLogger(__name__)
T = TypeVar("T")
PERIOD = 1.0  # seconds between two looks
MOST_CLIENTS = 64
_KEPT = 8  # pages that stay in memory while nobody listens to them
_REMEMBERED = 60.0  # seconds, for which who connects is told what changed


class Client:
    """Somebody who listens to a page.

    Attributes:
        is_over: true once the view ends.
    """

    def __init__(self) -> None:
        self.is_over = False
        self._changed: set[str] = set()
        self._event = asyncio.Event()

    def tell(self, runs: set[str]) -> None:
        """Note runs that changed, on top of what was not taken yet."""
        self._changed |= runs
        self._event.set()

    def end(self) -> None:
        """Wake whoever waits, for the last time."""
        self.is_over = True
        self._event.set()

    async def wait(self, seconds: float) -> set[str] | None:
        """What changed since the last call, as soon as something did; None after so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return None
        self._event.clear()
        found, self._changed = self._changed, set()
        return found


class _Entry:
    """A page with those who listen to it."""

    def __init__(self, page: LivePage) -> None:
        self.page = page
        self.is_read = False
        self.lock = asyncio.Lock()
        self.clients: set[Client] = set()
        self.recent: deque[tuple[float, set[str]]] = deque(maxlen=100)

    def tell(self, runs: set[str]) -> None:
        self.recent.append((time.monotonic(), runs))
        for client in self.clients:
            client.tell(runs)


class Hub:
    """The pages of a folder, and who listens.

    Args:
        folder: with the runs.
        period: seconds between two looks.
        budget: of processor time.
    """

    def __init__(
        self, folder: Folder, period: float = PERIOD, budget: Budget | None = None
    ) -> None:
        self.folder = folder
        self.index_clients: set[Client] = set()
        self._period, self._budget = period, budget or Budget()
        self._entries: dict[str, _Entry] = {}
        self._looked = -float("inf")
        self._look_lock = asyncio.Lock()

    @property
    def clients(self) -> int:
        """How many listen."""
        return len(self.index_clients) + sum(len(e.clients) for e in self._entries.values())

    def close(self) -> None:
        """Let everybody who listens go."""
        for clients in (self.index_clients, *(e.clients for e in self._entries.values())):
            for client in clients:
                client.end()

    async def watch(self) -> None:
        """Look for changes until cancelled, and tell those who listen."""
        used, passed = time.process_time(), time.monotonic()
        while True:
            await asyncio.sleep(self._period)
            now, clock = time.process_time(), time.monotonic()
            self._budget.spend(now - used, clock - passed)
            used, passed = now, clock
            if self.clients and not self._budget.wait:
                try:
                    await self.tick()
                except Exception as error:  # of one look; the next may do better
                    _LOG.warning("a look failed: %s: %s", type(error).__name__, error)

    async def tick(self) -> None:
        """Look once, read anew what somebody listens to, and tell them."""
        changed = await self._look()
        if changed:
            for client in self.index_clients:
                client.tell(set())
        for entry in list(self._entries.values()):
            if entry.clients and entry.page.is_stale:
                await self._refresh(entry)

    async def _look(self) -> set[Path]:
        """Look at the folder; mark the pages of what changed."""
        async with self._look_lock:
            changed = await asyncio.to_thread(self.folder.look)
            self._looked = time.monotonic()
        for entry in self._entries.values():
            entry.page.is_stale |= any(path.is_relative_to(entry.page.path) for path in changed)
        return changed

    async def look_again(self) -> None:
        """Look, unless that was done within the period."""
        if time.monotonic() - self._looked >= self._period:
            await self._look()

    async def _refresh(self, entry: _Entry) -> None:
        async with entry.lock:
            if entry.page.is_stale:
                with suppress(UserError):  # removed meanwhile: the next request is told
                    changed = await asyncio.to_thread(entry.page.refresh)
                    if entry.is_read or entry.clients:
                        entry.tell(changed)
                    entry.is_read = True

    async def rendered(self, name: str, form: Callable[[Made], T]) -> T | None:
        """The page of a place as it is now, in one of its forms; None where there is none."""
        await self.look_again()
        entry = self._entry(name)
        if entry is None:
            return None
        began, is_first = time.process_time(), not entry.is_read
        await self._refresh(entry)
        async with entry.lock:
            found = await asyncio.to_thread(lambda: form(entry.page.made()))
        if is_first:
            self._budget.forgive(time.process_time() - began)
        return found

    def _entry(self, name: str) -> _Entry | None:
        """The page of a place; the latest asked for is the last."""
        place = self.folder.places.get(name)
        if place is None or self.folder.refusal(place.path):
            self._entries.pop(name, None)
            return None
        entry = self._entries.pop(name, None) or _Entry(LivePage(place.path, self.folder.refusal))
        self._entries[name] = entry
        idle = [key for key, other in self._entries.items() if not other.clients]
        for key in idle[:-_KEPT]:
            del self._entries[key]
        return entry

    def refuses(self, name: str) -> bool:
        """True where a place that is there must not be read."""
        return bool(self.folder.refusal(self.folder.places[name].path))

    @contextmanager
    def listening(self, name: str | None) -> Iterator[Client]:
        """Somebody who listens to a page, or to the list of all for None, until they are gone.

        Raises:
            KeyError: where there is no such place.
        """
        client = Client()
        if name is None:
            clients = self.index_clients
        else:
            entry = self._entry(name)
            if entry is None:
                raise KeyError(name)
            clients = entry.clients
            since = time.monotonic() - _REMEMBERED
            # What changed between its page and this connection was told to others only.
            if missed := [runs for at, runs in entry.recent if at >= since]:
                client.tell(set().union(*missed))
        clients.add(client)
        try:
            yield client
        finally:
            clients.discard(client)
