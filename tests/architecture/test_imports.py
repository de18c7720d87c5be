"""The arrows of the tree: the contracts hold, and each of them would notice a violation."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "palaver"

# import-linter reads Palaver, and runs none of it: to measure that would only take time.
UNMEASURED = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}

LAYERS = "The layers of the tree"
WIRES = "The wires know nothing of each other"
ENGINE = "The engine knows no wire"
SERVER = "The server is no client"
PURITY = "The model and the protocols are pure"
MEDIA_TIME = "Hearing and turns go by media time"

# importer (made when it is missing) → what it must not import, and the contract that says so.
VIOLATIONS = [
    ("errors", "palaver.model", LAYERS),
    ("model", "palaver.engine", LAYERS),
    ("model", "palaver.protocols", LAYERS),
    ("model", "palaver.storage", LAYERS),
    ("protocols", "palaver.storage", LAYERS),
    ("storage", "palaver.protocols", LAYERS),
    ("storage", "palaver.observability", LAYERS),
    ("observability", "palaver.engine", LAYERS),
    ("providers", "palaver.storage", LAYERS),
    ("auth", "palaver.engine", LAYERS),
    ("engine", "palaver.agents", LAYERS),
    ("engine", "palaver.server", LAYERS),
    ("client", "palaver.server", LAYERS),
    ("client", "palaver.agents", LAYERS),
    ("speech", "palaver.client", LAYERS),
    ("server", "palaver.console", LAYERS),
    ("server", "palaver.app", LAYERS),
    ("config", "palaver.app", LAYERS),
    ("app", "palaver.cli", LAYERS),
    ("app", "palaver.testing", LAYERS),
    ("cli", "palaver.testing", LAYERS),
    ("protocols.a2a", "palaver.protocols.asap", WIRES),
    ("protocols.asap", "palaver.protocols.asp", WIRES),
    ("protocols.asp", "palaver.protocols.a2a", WIRES),
    ("protocols.jsonrpc", "palaver.protocols.a2a", WIRES),
    ("engine", "palaver.protocols", ENGINE),
    ("engine", "palaver.protocols.jsonrpc", ENGINE),
    ("server", "palaver.client", SERVER),
    ("errors", "logging", PURITY),
    ("model", "asyncio", PURITY),
    ("model", "time", PURITY),
    ("model", "random", PURITY),
    ("model", "secrets", PURITY),
    ("model", "structlog", PURITY),
    ("protocols", "socket", PURITY),
    ("protocols", "threading", PURITY),
    ("protocols.a2a", "httpx2", PURITY),
    ("protocols.a2a", "starlette", PURITY),
    ("protocols.jsonrpc", "uvicorn", PURITY),
    ("protocols.sse", "apsw", PURITY),
    ("speech.audio", "time", MEDIA_TIME),
    ("speech.endpointing", "asyncio", MEDIA_TIME),
    ("speech.hearing", "threading", MEDIA_TIME),
    ("speech.turns", "random", MEDIA_TIME),
]


def contracts() -> list[dict[str, Any]]:
    """Read the contracts as pyproject.toml states them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found: list[dict[str, Any]] = tomllib.loads(text)["tool"]["importlinter"]["contracts"]
    return found


def lint(project: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over the package under ``project/src``, with ``project``'s settings."""
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
            "--no-logo",
        ],
        cwd=project,
        env=UNMEASURED | {"PYTHONPATH": str(project / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def broken(output: str) -> set[str]:
    """Return the names of the contracts that the output calls broken."""
    names = (contract["name"] for contract in contracts())
    return {name for name in names if f"{name} BROKEN" in output}


def plant(package: Path, importer: str, imported: str) -> None:
    """Make ``importer`` import ``imported``, and make both exist where the tree lacks them."""
    for name in (importer, imported.removeprefix("palaver.")):
        if name == imported and name != importer:
            continue  # not of this package: nothing to make
        folder = package.joinpath(*name.split("."))
        if not (folder / "__init__.py").is_file() and not folder.with_suffix(".py").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "__init__.py").write_text('"""Planted."""\n', encoding="utf-8")
    folder = package.joinpath(*importer.split("."))
    target = folder / "planted.py" if folder.is_dir() else folder.with_suffix(".py")
    with target.open("a", encoding="utf-8") as file:
        file.write(f"\nimport {imported}  # planted\n")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Copy the package and its settings to where a violation does no harm."""
    shutil.copytree(
        SOURCE, tmp_path / "src" / "palaver", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold() -> None:
    """The tree as it stands breaks none of its contracts."""
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_contract_is_tried() -> None:
    """Each contract has a violation in the table, and the table names no other."""
    assert {contract["name"] for contract in contracts()} == {name for *_, name in VIOLATIONS}


@pytest.mark.parametrize(("importer", "imported", "contract"), VIOLATIONS)
def test_a_planted_violation_is_noticed(
    copy: Path, importer: str, imported: str, contract: str
) -> None:
    """An import that the tree forbids breaks the contract that forbids it."""
    plant(copy / "src" / "palaver", importer, imported)
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert contract in broken(result.stdout), result.stdout


def test_a_package_without_a_place_is_noticed(copy: Path) -> None:
    """A new top-level package breaks the layers until pyproject.toml gives it a place."""
    folder = copy / "src" / "palaver" / "planted"
    folder.mkdir()
    (folder / "__init__.py").write_text('"""Planted."""\n', encoding="utf-8")
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert broken(result.stdout) == {LAYERS}, result.stdout
