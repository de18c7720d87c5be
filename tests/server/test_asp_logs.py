"""What the log of a server says of ASP: a line for each decision, and never a secret."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.conftest import Serve, Server
from tests.server.asp_host import ECHO, eventually, lines
from tests.server.asp_peers import Peer, asp16, dialled, utterance
from tests.server.legacy_client import LegacyClient


@pytest.fixture(scope="module")
def line(serve: Serve) -> Server:
    """Serve the echo test, and log all."""
    return serve(*ECHO, "--set", "log_level=debug", "--set", "asp_resume_window=0.2")


async def opened(peer: Peer, name: str) -> None:
    """Begin a call."""
    await peer.start(name, call_id="call 7", vad={"threshold": 0.25})


async def adjusted(peer: Peer, name: str) -> None:
    """Ask for too much."""
    await peer.start(name, vad={"threshold": 7})


async def rejected(peer: Peer, name: str) -> None:
    """Ask for what there is not."""
    await peer.ask(name, version="1.1.0", audio={"sample_rate": 44_100})


async def updated(peer: Peer, name: str) -> None:
    """Change a value after two frames."""
    call = await peer.start(name)
    await call.say(*utterance(2))
    await call.send("session.update", vad={"threshold": 0.9})
    await call.take("session.updated")


async def mismatched(peer: Peer, name: str) -> None:
    """Say that another configuration is run."""
    call = await peer.start(name)
    await call.send("session.confirm", config_digest="sha256:other")
    await call.take("session.ended")


async def detached(peer: Peer, name: str) -> None:
    """Lose the socket."""
    await peer.start(name)
    peer.drop()


async def resumed(peer: Peer, name: str) -> None:
    """Resume on the same socket."""
    call = await peer.start(name)
    await call.echo(utterance(1))
    call.received = 1
    await call.resume_on(peer)


async def lossy(peer: Peer, name: str) -> None:
    """Resume without what was said before."""
    call = await peer.start(name)
    call.first = 3
    await call.resume_on(peer)


async def hung_up(peer: Peer, name: str) -> None:
    """End a call."""
    call = await peer.start(name)
    await call.echo(utterance(4))
    await call.hang_up()


async def skipped(peer: Peer, name: str) -> None:
    """Leave out nine audio messages."""
    call = await peer.start(name)
    await call.put(asp16(call.started["stream"], 9, 1_440, utterance(1)[0]))


async def mistaken(peer: Peer, name: str) -> None:
    """Send bad audio three times."""
    call = await peer.start(name)
    for _ in range(3):
        await call.say(b"x")


async def complaining(peer: Peer, name: str) -> None:
    """Tell the server of an error."""
    call = await peer.start(name)
    error = {"code": 2004, "category": "audio", "message": "no"}
    await call.send("protocol.error", error=error)


Deed = Callable[[Peer, str], Awaitable[None]]

# What is done → the line that tells of it, its level, and what stands in it.
LINES: list[tuple[Deed, str, str, dict[str, Any]]] = [
    (
        opened,
        "asp_session_opened",
        "info",
        {"call_id": "call 7", "legacy_mode": False, "peer_version": "1.1.0"},
    ),
    (
        adjusted,
        "asp_config_adjusted",
        "warning",
        {"field": "vad.threshold", "requested": 7, "applied": 1.0},
    ),
    (rejected, "asp_session_rejected", "warning", {"code": 2001}),
    (updated, "asp_config_switched", "info", {"cause": "update", "seq": 2, "samples": 320}),
    (mismatched, "asp_config_mismatched", "error", {"theirs": "sha256:other"}),
    (mismatched, "asp_session_closed", "info", {"reason": "config_digest_mismatch"}),
    (detached, "asp_session_detached", "info", {}),
    (detached, "asp_session_closed", "info", {"reason": "not_resumed"}),
    (resumed, "asp_session_resumed", "info", {"replayed": 2}),
    (lossy, "asp_messages_lost", "warning", {"count": 3}),
    (hung_up, "asp_session_closed", "info", {"reason": "call_hangup", "audio_frames_sent": 4}),
    (skipped, "asp_audio_missing", "warning", {"seq": 9, "count": 9}),
    (mistaken, "asp_error_sent", "warning", {"code": 2004, "quiet": 0}),
    (complaining, "asp_error_received", "warning", {"code": 2004, "reason": "no"}),
    (hung_up, "asp_received", "debug", {"type": "session.start"}),
    (hung_up, "asp_sent", "debug", {"type": "session.started"}),
]


@pytest.mark.parametrize(("deed", "event", "level", "members"), LINES)
async def test_each_decision_has_its_line(
    line: Server, deed: Deed, event: str, level: str, members: dict[str, Any]
) -> None:
    """It names the session, once."""
    name = f"{deed.__name__} for {event}"
    async with dialled(line.port) as peer:
        await deed(peer, name)
        found = await eventually(lambda: lines(line, event, name))
    assert found[0]["level"] == level
    assert members.items() <= found[0].items()
    if level != "debug":
        assert len(found) == 1


async def test_the_line_of_a_call_from_before_asp(line: Server) -> None:
    """It says so in two ways: one to search for, one to be warned by."""
    async with LegacyClient(f"ws://127.0.0.1:{line.port}/") as old:
        await old.start("legacy")
    assert lines(line, "asp_session_opened", "legacy")[0]["legacy_mode"] is True
    assert lines(line, "asp_legacy_client", "legacy")[0]["level"] == "warning"


async def test_the_configuration_is_in_the_log(line: Server) -> None:
    """All of it, as it is run: nobody has to guess what a call was heard with."""
    async with dialled(line.port) as peer:
        call = await peer.start("config", vad={"silence_threshold_ms": 700})
    found = lines(line, "asp_session_opened", "config")[0]
    assert found["audio"] == call.started["negotiated"]["audio"]
    assert found["vad"] == call.started["negotiated"]["vad"]
    assert found["vad"]["silence_threshold_ms"] == 700


async def test_a_server_that_lets_nobody_change_it(serve: Serve) -> None:
    """Updates that are rejected have their line, and handshakes that fail."""
    server = serve(*ECHO, "--set", "asp_vad_configurable=false", "--set", "asp_handshake_timeout=6")
    async with dialled(server.port) as silent, dialled(server.port) as peer:
        call = await peer.start("fixed")
        await call.send("session.update", vad={"threshold": 0.9})
        await call.take("session.updated")
        found = await eventually(lambda: lines(server, "asp_update_rejected", "fixed"))
        assert found[0]["code"] == 3002
        await silent.closed()
        assert len(lines(server, "asp_legacy_suspected")) == 1
        failed = lines(server, "asp_handshake_failed")
        assert [(one["code"], one["level"]) for one in failed] == [(1002, "warning")]


async def test_no_line_holds_a_token(line: Server) -> None:
    """Not at any level, whatever is done with it: not whole, not in part."""
    tokens = set()
    async with dialled(line.port) as peer, dialled(line.port) as again, dialled(line.port) as last:
        call = await peer.start("secret")
        tokens.add(call.started["resume_token"])
        await call.say(*utterance(40))
        peer.drop()
        await call.resume_on(again)
        tokens.add(call.started["resume_token"])
        await call.echo([])
        await call.resume_on(last)
        tokens.add(call.started["resume_token"])
        await call.echo([])
        guess = "guessed-" + "0123456789" * 3
        tokens.add(guess)
        for members in (
            {"session_id": "secret", "resume_token": guess, "received": 0, "sending_from": 0},
            {"session_id": "secret", "resume_token": guess},
            {"session_id": "secret", "resume_token": [guess], "received": 0, "sending_from": 0},
            {"session_id": [guess]},
            {"session_id": {"id": guess}},
            {"resume_token": guess},
        ):
            resume = json.dumps({"type": "session.resume", **members}).encode()
            await last.send(resume.decode())
            await last.socket.send([resume[:30].decode(), resume[30:].decode()])
        await last.send(f'{{"type": "session.resume", "resume_token": "{guess}"')
        await call.hang_up()
    assert lines(line, "asp_session_closed", "secret")
    log = line.log.read_text(encoding="utf-8")
    assert len(tokens) == 4
    assert '"asp_received"' in log
    for token in tokens:
        assert token[:12] not in log
        assert token[-12:] not in log


async def test_no_line_is_long(line: Server) -> None:
    """However long a message is, or its type, or what it has for an id."""
    async with dialled(line.port) as peer:
        call = await peer.start("long")
        for members in (
            {"type": "x" * 50_000, "session_id": "long"},
            {"type": "x" * 50_000, "session_id": "y" * 10_000},
            {"type": "audio.end", "session_id": "y" * 50_000},
            {"type": ["x"] * 10_000, "session_id": {"y": "y" * 10_000}},
            {"type": "audio.end", "session_id": "long", "more": "x" * 1_000_000},
            {"type": "session.start", "session_id": "z", "vad": {"x" * 30_000: 1, "enabled": "no"}},
            {"type": "session.start", "session_id": "z", "call_id": ["x" * 50_000]},
            {"type": "session.end", "session_id": "long", "reason": "x" * 50_000},
            {
                "type": "protocol.error",
                "session_id": "long",
                "error": {"code": 1, "category": "audio", "message": "x" * 4_096},
            },
        ):
            await peer.send(members)
        await call.hang_up()
    longest = max(line.log.read_text(encoding="utf-8").splitlines(), key=len)
    assert len(longest) < 2_000, longest[:500]


async def test_a_flood_has_few_lines(serve: Serve) -> None:
    """What one client brings about has a hundred lines a second; the rest is counted."""
    server = serve("--set", "log_format=json")
    error = {"code": 1001, "category": "protocol", "message": "no"}
    async with dialled(server.port) as peer:
        for _ in range(2_000):
            await peer.send({"type": "protocol.error", "error": error})
        await peer.start("s")
    server.stop()
    written = [json.loads(line) for line in server.log.read_text(encoding="utf-8").splitlines()]
    errors = [line for line in written if line["event"] == "asp_error_received"]
    assert 100 <= len(errors) < 2_000
