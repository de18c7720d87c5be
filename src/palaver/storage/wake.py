"""Processes that share a database file tell each other what they wrote: one datagram each.

Every process binds a Unix datagram socket in one directory beside the file. A datagram stands in
the receiver's queue before the append that it speaks of is acknowledged; who looks into the queue
therefore knows of every acknowledged append, unless the queue was full. Then at least
``_MANY`` datagrams wait in it, and the receiver looks at everything. Whoever cannot be reached at
all notices by polling.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import socket
import stat
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import orjson

__all__ = ["News", "Receiver", "Sender", "directory_for"]

_MAX_PATH: Final = 100
"""Bytes that the path of a socket may have: 103 on macOS, 107 on Linux."""
_NAME_LENGTH: Final = 26
_SUFFIX: Final = ".sock"
_MAX_PAYLOAD: Final = 4000
_EVERYTHING: Final = b"*"
_MANY: Final = 8
"""Fewer than any queue holds: Linux keeps 11 datagrams by default."""
_FULL: Final = frozenset({errno.EAGAIN, errno.ENOBUFS})
_SETTLED_NS: Final = 100_000_000
"""A directory that changed less than this ago may change again within one tick of its clock."""


def directory_for(database: Path) -> Path:
    """Return where the sockets of that database are: beside it, or under the temporary directory.

    The latter where paths would be too long for sockets.
    """
    beside = database.with_name(database.name + "-wake")
    if len(os.fsencode(beside)) + 1 + _NAME_LENGTH <= _MAX_PATH:
        return beside
    digest = hashlib.sha256(os.fsencode(database)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"palaver-{os.getuid()}-{digest}"


@dataclass(slots=True)
class News:
    """What other processes wrote: task → head (0: its events were removed)."""

    heads: dict[str, int] = field(default_factory=dict)
    everything: bool = False
    """Something was missed, or was too long to be told: look at everything."""


class Receiver:
    """The socket that this process is told on."""

    def __init__(self, directory: Path) -> None:
        """Bind it.

        Raises:
            OSError: the directory cannot be made, is somebody else's, or takes no sockets.

        """
        self.path = directory / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            for attempt in range(3):
                _prepare(directory)
                try:
                    self._socket.bind(str(self.path))
                except FileNotFoundError:  # the last of the others took the directory along
                    if attempt == 2:
                        raise
                else:
                    break
        except OSError:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """Return what an event loop waits on."""
        return self._socket.fileno()

    def receive(self) -> News | None:
        """Return what came in by now; ``None`` for nothing, at the price of one system call."""
        try:
            payload = self._socket.recv(_MAX_PAYLOAD)
        except BlockingIOError:
            return None
        news = News()
        for count in range(1, 1024):
            self._take(payload, news)
            if count >= _MANY:
                news.everything = True
            try:
                payload = self._socket.recv(_MAX_PAYLOAD)
            except BlockingIOError:
                break
        return news

    @staticmethod
    def _take(payload: bytes, news: News) -> None:
        try:
            heads = orjson.loads(payload)
        except orjson.JSONDecodeError:
            news.everything = True
            return
        if not isinstance(heads, dict) or not all(isinstance(head, int) for head in heads.values()):
            news.everything = True
            return
        news.heads.update(heads)

    def close(self) -> None:
        """Unbind the socket and remove its file; the last one removes the directory."""
        self._socket.close()
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()


class Sender:
    """Tells the other processes. Used in the writer's thread only; never waits."""

    def __init__(self, own: Path) -> None:
        self._own = own
        self._seen_ns: int | None = None
        self._peers: dict[str, socket.socket] = {}

    def tell(self, heads: Mapping[str, int]) -> None:
        """Say that the logs of these tasks reach this far now."""
        self._look_around()
        if not self._peers:
            return
        payload = orjson.dumps(heads)
        if len(payload) > _MAX_PAYLOAD:
            payload = _EVERYTHING
        for name, peer in list(self._peers.items()):
            try:
                peer.send(payload)
            except OSError as error:
                if error.errno not in _FULL:
                    self._lose(name)

    def close(self) -> None:
        """Let go of the sockets."""
        for peer in self._peers.values():
            peer.close()
        self._peers.clear()

    def _look_around(self) -> None:
        """Connect to the peers that came since; a look at the directory's time tells."""
        directory = self._own.parent
        try:
            changed_ns = directory.stat().st_mtime_ns
            if changed_ns == self._seen_ns:
                return
            names = {name for name in os.listdir(directory) if name.endswith(_SUFFIX)}  # noqa: PTH208 - names are all that is wanted
        except OSError:
            names, changed_ns = set(), 0
        self._seen_ns = changed_ns if time.time_ns() - changed_ns > _SETTLED_NS else None
        names.discard(self._own.name)
        for name in self._peers.keys() - names:
            self._peers.pop(name).close()
        for name in names - self._peers.keys():
            peer = _connect(directory / name)
            if peer is not None:
                self._peers[name] = peer

    def _lose(self, name: str) -> None:
        self._peers.pop(name).close()
        with contextlib.suppress(OSError):
            (self._own.parent / name).unlink()


def _connect(path: Path) -> socket.socket | None:
    """Return a socket of its own per peer: a peer that is slow fills no other's buffer."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.setblocking(False)
    try:
        peer.connect(str(path))
    except OSError as error:
        peer.close()
        if error.errno == errno.ECONNREFUSED:
            with contextlib.suppress(OSError):
                path.unlink()
        return None
    return peer


def _prepare(directory: Path) -> None:
    """Make the directory, and remove the files of sockets whose process is gone."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise OSError(errno.EPERM, "belongs to somebody else", str(directory))
    for path in directory.glob("*" + _SUFFIX):
        peer = _connect(path)
        if peer is not None:
            peer.close()
