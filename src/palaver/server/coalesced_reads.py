"""Reads many connections in rounds: what a thousand calls say is taken some hundreds at a time.

Fifty messages come each second for each call. Read one by one, each of them finds its call in no
cache of the core. In rounds one read takes what has come meanwhile, and what a call's first message
has fetched serves its second. So network cards spare their hosts interrupts, and as there the wait
grows with the load: none for a few connections, ``MAX_WAIT`` for many.

Where there is no epoll, the event loop goes on reading.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections.abc import Callable
from typing import Final, cast

from palaver.server.connection import reset

__all__ = ["MAX_WAIT", "CoalescedReads"]

MAX_WAIT: Final = 0.032
"""Seconds that bytes wait to be read at most: as long as a window of the detector is."""
_MANY: Final = 1_000
"""Connections from which on they wait so long; fewer wait that much less."""
_FEW: Final = 64
"""So many are read as soon as anything comes."""
_GROUP: Final = 256
"""Connections that are read in one round: those of others come between two rounds."""
_TURN: Final = 64 * 1024
"""Bytes that are read of one connection in a round; then others have their turn."""


class CoalescedReads:
    """Reads for transports whose protocols are ``asyncio.BufferedProtocol``.

    ``on_round`` is called after each round in which something was read. A transport is to be
    forgotten when it is lost.
    """

    def __init__(self, on_round: Callable[[], None]) -> None:
        self.on_round: Final = on_round
        self._groups: list[_Group] = []
        self._group_of: dict[asyncio.Transport, _Group] = {}
        self._closed = False

    def start(self, transport: asyncio.Transport) -> None:
        """Read what comes; the event loop reads it no more."""
        if not hasattr(select, "epoll"):
            transport.resume_reading()
            return
        transport.pause_reading()
        if transport not in self._group_of and not self._closed:
            group = min(self._groups, key=len, default=None)
            if group is None or len(group) >= _GROUP:
                group = _Group(self)
                self._groups.append(group)
            group.add(transport)
            self._group_of[transport] = group

    def stop(self, transport: asyncio.Transport) -> None:
        """Read nothing until it is started again."""
        transport.pause_reading()
        self.forget(transport)

    def forget(self, transport: asyncio.Transport) -> None:
        """Let go of a transport; nothing is done where that has happened."""
        group = self._group_of.pop(transport, None)
        if group is not None:
            group.remove(transport)

    def has_unread(self, transport: asyncio.Transport) -> bool:
        """Whether something waits for the next round; never where the event loop reads."""
        if transport not in self._group_of:
            return False
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Read nothing any more."""
        self._closed = True
        self._group_of.clear()
        for group in self._groups:
            group.close()
        self._groups.clear()

    # --- for its groups -----------------------------------------------------------------------

    def wait(self) -> float:
        """Return the seconds between two rounds of a group."""
        count = len(self._group_of)
        return 0.0 if count <= _FEW else MAX_WAIT * min(1.0, count / _MANY)

    def ended(self, transport: asyncio.Transport) -> None:
        """Let the event loop find the end of what a client says: all that it said was read."""
        self.forget(transport)
        if not transport.is_closing():
            transport.resume_reading()

    def failed(self, transport: asyncio.Transport) -> None:
        """Drop a connection that was reset, or whose protocol broke."""
        self.forget(transport)
        reset(transport)


class _Group:
    """Connections that are read in one round.

    Between rounds it waits for time alone. Where a round found nothing, it waits for bytes.
    """

    def __init__(self, reads: CoalescedReads) -> None:
        self._reads = reads
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._members: dict[int, tuple[asyncio.Transport, asyncio.BufferedProtocol]] = {}
        self._descriptors: dict[asyncio.Transport, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._watches = False
        self._watch()

    def __len__(self) -> int:
        """Count the connections."""
        return len(self._members)

    def add(self, transport: asyncio.Transport) -> None:
        """Read it in the next round."""
        descriptor: int = transport.get_extra_info("socket").fileno()
        protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())
        # What is not read in one round makes it ready for the next one as well.
        self._epoll.register(descriptor, select.EPOLLIN)
        self._members[descriptor] = transport, protocol
        self._descriptors[transport] = descriptor

    def remove(self, transport: asyncio.Transport) -> None:
        """Read it no more. Its descriptor is still open."""
        descriptor = self._descriptors.pop(transport)
        del self._members[descriptor]
        self._epoll.unregister(descriptor)

    def close(self) -> None:
        """End its rounds."""
        if self._timer is not None:
            self._timer.cancel()
        self._unwatch()
        self._epoll.close()

    def _read_round(self) -> None:
        self._timer = None
        started = self._loop.time()
        found = self._epoll.poll(0, _GROUP)
        if not found:
            self._watch()
            return
        try:
            for descriptor, _ in found:
                member = self._members.get(descriptor)
                if member is not None:  # or what came for another one before it has stopped it
                    self._read(descriptor, *member)
        finally:  # whatever breaks, the others are read in the next round
            wait = self._reads.wait()
            if wait > 0.0:
                self._unwatch()
                self._timer = self._loop.call_at(started + wait, self._read_round)
            else:
                self._watch()
        self._reads.on_round()

    def _read(
        self, descriptor: int, transport: asyncio.Transport, protocol: asyncio.BufferedProtocol
    ) -> None:
        """Read once what came for one of them."""
        if transport.is_closing():
            self._reads.forget(transport)
            return
        try:
            buffer = cast("bytearray | memoryview", protocol.get_buffer(-1))
            if len(buffer) > _TURN:  # that of picows grows with each read that fills it
                buffer = memoryview(buffer)[:_TURN]
            count = os.readv(descriptor, (buffer,))
        except BlockingIOError:
            return  # what was there is gone
        except OSError:
            self._reads.failed(transport)
            return
        if not count:
            self._reads.ended(transport)
            return
        try:
            protocol.buffer_updated(count)
        except Exception as error:  # noqa: BLE001 - as the event loop does it
            context = {"message": "a protocol broke", "exception": error, "protocol": protocol}
            self._loop.call_exception_handler(context)
            self._reads.failed(transport)

    def _watch(self) -> None:
        if not self._watches:
            self._watches = True
            self._loop.add_reader(self._epoll.fileno(), self._read_round)

    def _unwatch(self) -> None:
        if self._watches:
            self._watches = False
            self._loop.remove_reader(self._epoll.fileno())
