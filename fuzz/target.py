"""Runs a fuzz target: under atheris where that is installed, else a bounded random run."""

from __future__ import annotations

import argparse
import importlib.util
import random
import sys
from collections.abc import Callable, Sequence

Target = Callable[[bytes], None]


def run(check: Target, seeds: Sequence[bytes]) -> int:
    """Run ``check`` until the runs asked for are done; what it raises is the finding."""
    options = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    options.add_argument("--runs", type=int, help="random bodies to try, without atheris")
    options.add_argument("--seed", type=int, default=0, help="where the random run begins")
    known, rest = options.parse_known_args()
    if known.runs is None and importlib.util.find_spec("atheris") is not None:
        import atheris  # noqa: PLC0415 -- optional

        atheris.instrument_all()
        atheris.Setup([sys.argv[0], *rest], check)
        atheris.Fuzz()
    runs = 2000 if known.runs is None else known.runs
    chance = random.Random(known.seed)  # noqa: S311 -- a test, no secret
    for seed in seeds:
        check(seed)
    for number in range(runs):
        body = _mutated(chance.choice(seeds), chance)
        try:
            check(body)
        except Exception:
            print(f"run {number}, seed {known.seed}: {body!r}", file=sys.stderr)  # noqa: T201
            raise
    print(f"{runs} runs, nothing found")  # noqa: T201
    return 0


def _mutated(seed: bytes, chance: random.Random) -> bytes:
    body = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(body) + 1)
        end = min(len(body), start + chance.randint(0, 12))
        match chance.randrange(5):
            case 0:
                del body[start:end]
            case 1:
                body[start:start] = body[start:end] * chance.randint(1, 80)
            case 2:
                body[start:end] = chance.randbytes(chance.randint(0, 4))
            case 3:
                word = chance.choice([b'"', b"null", b"[", b"{", b"}", b"1e9", b"-1", b"\r", b"\n"])
                body[start:end] = word * chance.choice([1, 1, 1, 100])
            case _:
                other = chance.randrange(len(body) + 1)
                body[start:end] = body[other : other + 20]
    return bytes(body)
