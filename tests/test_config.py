"""Settings: flags over the environment over a file over defaults."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from palaver.config import Settings, default_store, load_settings
from palaver.engine.limits import Limits
from palaver.errors import ConfigError


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Begin with nothing set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


@pytest.mark.parametrize(
    ("flags", "environment", "file", "port"),
    [
        ({}, {}, "", 8080),
        ({}, {}, "port = 1", 1),
        ({}, {"PALAVER_PORT": "2"}, "port = 1", 2),
        ({"port": 3}, {"PALAVER_PORT": "2"}, "port = 1", 3),
        ({"port": "3"}, {}, "", 3),
        ({}, {"palaver_port": "4"}, "port = 1", 4),
    ],
)
def test_what_goes_before_what(
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, Any],
    environment: dict[str, str],
    file: str,
    port: int,
) -> None:
    """A flag goes before a variable, that before the file, that before the default."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = Path("p.toml")
    path.write_text(file, encoding="utf-8")
    assert load_settings(flags, path).port == port


@pytest.mark.parametrize(
    ("flags", "environment", "file", "message"),
    [
        (
            {"port": -1},
            {"PALAVER_PORT": "2"},
            "port = 3",
            "--port: Input should be greater than or equal to 0, not -1",
        ),
        (
            {},
            {"PALAVER_PORT": "x"},
            "port = 3",
            (
                "environment variable PALAVER_PORT: Input should be a valid integer, "
                "unable to parse string as an integer, not 'x'"
            ),
        ),
        (
            {},
            {"Palaver_Port": ""},
            "",
            (
                "environment variable Palaver_Port: Input should be a valid integer, "
                "unable to parse string as an integer, not ''"
            ),
        ),
        ({}, {}, "port = 1.5", "p.toml: port: Input should be a valid integer, got a number with "),
        ({}, {}, "prot = 1", "p.toml: prot: Extra inputs are not permitted"),
        ({}, {}, "[server]\nport = 1", "p.toml: server: Extra inputs are not permitted"),
        ({"nope": 1}, {}, "", "--set nope: Extra inputs are not permitted"),
        ({}, {"PALAVER_NOPE": "1"}, "", "environment variable PALAVER_NOPE: there is no such set"),
        ({}, {"palaver_nope": "1"}, "", "environment variable palaver_nope: there is no such set"),
        ({}, {}, "port =", "configuration file p.toml: Invalid value (at "),
        ({}, {}, "host = ''", "p.toml: host: String should have at least 1 character, not ''"),
        ({}, {"PALAVER_LEASE_TTL": "inf"}, "", "environment variable PALAVER_LEASE_TTL: Input sho"),
        ({}, {"PALAVER_INSECURE": "perhaps"}, "", "environment variable PALAVER_INSECURE: Input s"),
        (
            {"log_level": "loud"},
            {},
            "",
            "--set log_level: Input should be 'debug', 'info', 'warning'",
        ),
        (
            {"public_url": "ftp://x"},
            {},
            "",
            "--set public_url: URL scheme should be 'http' or 'https'",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_origin(
    monkeypatch: pytest.MonkeyPatch,
    flags: dict[str, Any],
    environment: dict[str, str],
    file: str,
    message: str,
) -> None:
    """An error names the setting as it was given there."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    path = Path("p.toml")
    path.write_text(file, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_settings(flags, path)
    assert str(error.value).startswith(message)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    """A file that cannot be read is named."""
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read: 'utf-8' codec"):
        load_settings({}, path)


def test_the_default_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tasks are kept in the user's state directory."""
    assert default_store() == str(tmp_path / "palaver" / "palaver.db")
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "ana"))
    assert default_store() == str(tmp_path / "ana" / ".local" / "state" / "palaver" / "palaver.db")


def test_settings_are_frozen() -> None:
    """Settings are parsed once, and never change."""
    settings = load_settings({})
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_the_limits_of_the_engine() -> None:
    """The defaults of the engine are those of the settings; what is set reaches it."""
    assert load_settings({}).limits() == Limits()
    limits = load_settings({"lease_ttl": 3, "max_threads": 2}).limits()
    assert (limits.lease_ttl, limits.max_threads) == (3.0, 2)
    known = {field.name for field in fields(Limits)}
    assert known - set(Settings.model_fields) == {"max_pending_events"}


def test_each_setting_says_what_it_is() -> None:
    """Each setting has a sentence."""
    assert all(field.description for field in Settings.model_fields.values())
