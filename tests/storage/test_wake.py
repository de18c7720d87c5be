import os
import socket
from pathlib import Path

import pytest

from palaver.storage.wake import Receiver, Sender, directory_for


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a directory whose path is short enough for sockets."""
    return directory_for(tmp_path / "palaver.db")


def test_peers_hear_each_other(directory: Path) -> None:
    """What one says every other hears, and it does not hear itself."""
    receivers = [Receiver(directory) for _ in range(3)]
    senders = [Sender(receiver.path) for receiver in receivers]
    senders[0].tell({"t": 3, "it's 🦜": 1})
    senders[1].tell({"t": 4})
    heard = [receiver.receive() for receiver in receivers]
    assert [news.heads for news in heard if news] == [
        {"t": 4},
        {"t": 3, "it's 🦜": 1},
        {"t": 4, "it's 🦜": 1},
    ]
    assert not any(news.everything for news in heard if news)
    assert [receiver.receive() for receiver in receivers] == [None] * 3
    for sender, receiver in zip(senders, receivers, strict=True):
        sender.close()
        receiver.close()
    assert not directory.exists()


def test_a_full_queue_means_look_at_everything(directory: Path) -> None:
    """Nobody waits for a peer that does not listen; it learns that it missed something."""
    receiver, other = Receiver(directory), Receiver(directory)
    sender = Sender(other.path)
    for head in range(1, 2000):
        sender.tell({"t": head})
    news = receiver.receive()
    assert news is not None
    assert news.everything
    sender.tell({"t": 2000})
    news = receiver.receive()
    assert news is not None
    assert (news.heads, news.everything) == ({"t": 2000}, False)
    for end in (sender, receiver, other):
        end.close()


def test_too_much_for_one_datagram(directory: Path) -> None:
    """So many tasks at once are told as: look at everything."""
    receiver, other = Receiver(directory), Receiver(directory)
    sender = Sender(other.path)
    sender.tell({f"{number:0256}": 1 for number in range(64)})
    news = receiver.receive()
    assert news is not None
    assert (news.heads, news.everything) == ({}, True)
    for end in (sender, receiver, other):
        end.close()


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"[1]", b'{"t": "x"}', b"{", b"\xff" * 5000])
def test_nonsense_means_look_at_everything(directory: Path, payload: bytes) -> None:
    """Whatever came in, something happened."""
    receiver = Receiver(directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(payload, str(receiver.path))
    news = receiver.receive()
    assert news is not None
    assert (news.heads, news.everything) == ({}, True)
    receiver.close()


def test_the_sockets_of_the_dead_are_removed(directory: Path) -> None:
    """A process that was killed leaves a file: whoever meets it removes it."""

    def leave(name: str) -> Path:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            dead.bind(str(directory / name))
        return directory / name

    directory.mkdir()
    first = leave("1-dead.sock")
    receiver = Receiver(directory)
    assert not first.exists()
    second = leave("2-dead.sock")
    sender = Sender(receiver.path)
    sender.tell({"t": 1})
    assert not second.exists()
    peer = Receiver(directory)
    sender.tell({"t": 2})
    peer._socket.close()
    sender.tell({"t": 3})
    assert not peer.path.exists()
    peer = Receiver(directory)
    sender.tell({"t": 4})
    peer.close()
    sender.tell({"t": 5})
    sender.close()
    receiver.close()


def test_nobody_is_told_where_the_directory_is_gone(tmp_path: Path) -> None:
    """A directory that somebody removed leaves polling."""
    sender = Sender(tmp_path / "gone" / "own.sock")
    sender.tell({"t": 1})
    sender.close()


def test_long_paths_lead_to_the_temporary_directory(tmp_path: Path) -> None:
    """The path of a socket is short by law; the same file leads to the same place."""
    far = tmp_path / ("d" * 90) / "palaver.db"
    place = directory_for(far)
    assert place == directory_for(far)
    assert place != directory_for(far.with_name("other.db"))
    assert place.name.startswith(f"palaver-{os.getuid()}-")
    receiver = Receiver(place)
    assert len(os.fsencode(receiver.path)) <= 100
    receiver.close()


def test_a_directory_that_is_none_of_ours(tmp_path: Path) -> None:
    """A link that somebody laid out for us is not followed, and no file is taken for a place."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        Receiver(link)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FileExistsError):
        Receiver(file)
