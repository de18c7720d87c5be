"""ASAP on a WebSocket that is lost again and again: how soon clients are back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from palaver.client.asap import AsapClient
from palaver.protocols.asap.messages import Envelope
from palaver.testing.fault_proxy import Fault, FaultProxy
from tests.conftest import Serve
from tests.resilience.asap_sites import WORKER, Site
from tests.resilience.following import report

CLIENTS, DROPS = 40, 5
WITHIN, SHARE = 30.0, 0.99
"""PRD §3.1.3: seconds, and the share of reconnections that take no longer."""


@pytest.fixture
async def site(serve: Serve, tmp_path: Path) -> AsyncIterator[Site]:
    """Open a place with a server."""
    site = Site(serve, tmp_path)
    await site.open()
    yield site
    await site.close()
    assert site.troubles() == []


async def _ignore(_envelope: Envelope) -> None:
    """Listen, so that the client comes back though nothing is asked."""


def _every_third_is_lost(number: int) -> Fault:
    """Reset every third of the connections that come back, before anything was said there."""
    return Fault(reset_after=0) if number and number % 3 == 0 else Fault()


async def _dropped(site: Site, first: int) -> tuple[list[float], int]:
    """Drop one client over and over; return how long after each drop it has an answer, and dials.

    It is as clients are by default.
    """
    times: list[float] = []
    async with FaultProxy(site.port, _every_third_is_lost) as proxy:
        url = f"ws://127.0.0.1:{proxy.port}/asap/ws"
        async with AsapClient(url, recipient=WORKER, on_message=_ignore) as client:
            for number in range(first, first + DROPS):
                dropped_at = time.perf_counter()
                proxy.reset_all()
                answer = await client.request_task("work", {"text": site.text(number, 0)})
                assert answer.status == "completed"
                times.append(time.perf_counter() - dropped_at)
        return times, proxy.connections - 1


async def test_two_hundred_drops(site: Site) -> None:
    """40 clients, dropped 5 times each: more than 99 % are back, and answered, within 30 s."""
    outcomes = await asyncio.gather(*(_dropped(site, number * DROPS) for number in range(CLIENTS)))
    times = sorted(taken for each, _ in outcomes for taken in each)
    dials = sum(dials for _, dials in outcomes)
    within = sum(taken <= WITHIN for taken in times) / len(times)
    report(
        f"{len(times)} drops: {within:.1%} back and answered within {WITHIN:.0f} s; "
        f"p50 {times[len(times) // 2]:.2f} s, longest {times[-1]:.2f} s; {dials} dials, "
        f"of which {dials - len(times)} were reset as well"
    )
    assert dials > len(times) == CLIENTS * DROPS
    assert within > SHARE
    assert set(site.effects().values()) == {1}
    assert len(site.effects()) == len(times)
