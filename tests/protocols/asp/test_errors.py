"""The table of errors (spec §8), and how an error travels."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from pydantic import ValidationError

from palaver.errors import PalaverError
from palaver.protocols.asp.errors import (
    ERRORS,
    ErrorCategory,
    ErrorCode,
    Misuse,
    ProtocolError,
    Rejection,
    close_code,
    protocol_error,
)
from palaver.protocols.asp.negotiation import negotiate
from tests.protocols.asp.strategies import built, capabilities, requests, unhurried

TABLE: list[tuple[int, str, str, bool, int]] = [
    (1001, "invalid_message_format", "protocol", True, 4001),
    (1002, "handshake_timeout", "protocol", False, 4002),
    (1003, "invalid_message_type", "protocol", True, 4003),
    (1004, "version_mismatch", "protocol", False, 4004),
    (1005, "session_already_active", "protocol", True, 4005),
    (1006, "internal_error", "protocol", False, 4006),
    (2001, "unsupported_sample_rate", "audio", True, 4201),
    (2002, "unsupported_encoding", "audio", True, 4202),
    (2003, "invalid_frame_duration", "audio", True, 4203),
    (2004, "audio_processing_error", "audio", True, 4204),
    (2005, "audio_rate_exceeded", "audio", True, 4205),
    (2006, "unsupported_channels", "audio", True, 4206),
    (2007, "unsupported_framing", "audio", True, 4207),
    (3001, "invalid_vad_parameter", "vad", True, 4301),
    (3002, "vad_not_configurable", "vad", True, 4302),
    (3003, "vad_initialization_error", "vad", False, 4303),
    (4001, "session_not_found", "session", True, 4401),
    (4002, "session_expired", "session", False, 4402),
    (4003, "session_limit_reached", "session", False, 4403),
    (4004, "session_update_not_allowed", "session", True, 4404),
    (4005, "config_digest_mismatch", "session", False, 4405),
    (4006, "resume_refused", "session", True, 4406),
]


@pytest.mark.parametrize(("code", "name", "category", "recoverable", "closes_with"), TABLE)
def test_the_table_of_errors(
    code: int, name: str, category: str, *, recoverable: bool, closes_with: int
) -> None:
    """Section 8: code, name, category, whether the session goes on, how the socket closes."""
    error = protocol_error(ErrorCode(code), "what was wrong")
    assert (error.code, error.name, error.category) == (code, name, category)
    assert error.recoverable is recoverable
    assert close_code(ErrorCode(code)) == closes_with
    assert ErrorCode(code).wire_name == name


def test_the_table_is_whole() -> None:
    """Each code stands in both tables once, and each category has one."""
    assert [row[0] for row in TABLE] == list(ErrorCode) == list(ERRORS)
    assert {row[2] for row in TABLE} == set(ErrorCategory)


def test_the_codes_of_1_0_0_are_those_that_it_has() -> None:
    """What 1.1 adds is marked, so that a peer of 1.0.0 can be spared it."""
    added = {code for code, rule in ERRORS.items() if rule.since != "1.0.0"}
    assert added == {1006, 2005, 2006, 2007, 4005, 4006}
    assert {ERRORS[ErrorCode(code)].since for code in added} == {"1.1.0"}


def test_every_error_says_what_it_means_and_what_to_do() -> None:
    """Meaning and recovery are sentences, and no two errors mean the same."""
    for rule in ERRORS.values():
        for text in (rule.meaning, rule.recovery):
            assert re.fullmatch(r"[A-Z].+\.\)?", text), text
    assert len({rule.meaning for rule in ERRORS.values()}) == len(ERRORS)


def test_close_codes_are_private_and_each_is_of_one_error() -> None:
    """RFC 6455, section 7.4.2: 4000 to 4999 are for applications; none stands for two errors."""
    codes = [close_code(code) for code in ErrorCode]
    assert all(4000 <= code <= 4999 for code in codes)
    assert all(one < other for one, other in pairwise(codes))


def test_an_error_carries_details_only_where_it_has_some() -> None:
    """``details`` holds what was said of the field, and is left out where nothing was."""
    bare = protocol_error(ErrorCode.SESSION_EXPIRED, "the session was idle for 300 s")
    assert bare.model_dump(exclude_none=True) == {
        "code": 4002,
        "category": "session",
        "message": "the session was idle for 300 s",
        "name": "session_expired",
        "recoverable": False,
    }
    error = protocol_error(ErrorCode.UNSUPPORTED_CHANNELS, "no", supported=[1])
    assert error.details == {"supported": [1]}


def test_a_long_message_is_cut() -> None:
    """No text of ours is longer than the peer takes."""
    assert protocol_error(ErrorCode.INTERNAL_ERROR, "x" * 5000).message == "x" * 4096


WRONG: list[tuple[str, Any]] = [
    ("code", "1001"),
    ("code", True),
    ("code", 1001.0),
    ("code", 0),
    ("code", -1),
    ("code", 100_000),
    ("category", None),
    ("category", "x" * 33),
    ("message", 5),
    ("message", "x" * 4097),
    ("name", "x" * 65),
    ("details", []),
    ("details", {str(number): number for number in range(65)}),
    ("details", {"n": 2**64}),
    ("details", {"n": {1, 2}}),
    ("recoverable", "yes"),
    ("recoverable", 1),
    ("recoverable", None),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_an_error_is_strict_and_bounded(field: str, value: Any) -> None:
    """A member of an error has its type and its bound, whoever makes it."""
    members = {"code": 1001, "category": "protocol", "message": "m", field: value}
    with pytest.raises(ValidationError) as caught:
        ProtocolError(**members)
    assert [found["loc"] for found in caught.value.errors()] == [(field,)]


def test_an_error_of_a_later_version_can_be_read() -> None:
    """Codes, categories and members that this version does not know are no reason to fail."""
    error = ProtocolError.model_validate_json(
        b'{"code":5001,"category":"billing","message":"m","hint":"pay"}'
    )
    assert (error.code, error.category, error.recoverable) == (5001, "billing", True)


def test_a_rejection_is_told_by_its_error() -> None:
    """A rejection holds the error for the wire, whose text is its own, and the session's id."""
    error = protocol_error(ErrorCode.SESSION_NOT_FOUND, "there is no session 's'")
    rejection = Rejection(error, "s")
    assert isinstance(rejection, PalaverError)
    assert (str(rejection), rejection.error, rejection.session_id) == (error.message, error, "s")
    assert Rejection(error).session_id is None


def test_our_own_mistakes_are_no_errors_of_a_peer() -> None:
    """Misuse is an error of the house and carries nothing for the wire."""
    assert issubclass(Misuse, PalaverError)
    assert not issubclass(Misuse, Rejection)


@unhurried
@given(built(ProtocolError))
def test_errors_come_back_as_they_went(error: ProtocolError) -> None:
    """An error that was written as JSON is read as the same error."""
    assert ProtocolError.model_validate_json(error.model_dump_json()) == error


@unhurried
@given(requests, capabilities)
def test_errors_of_a_negotiation_can_be_written(request: Any, offered: Any) -> None:
    """Whatever was asked for, each error that answers it fits into a message."""
    errors = negotiate(request, offered).errors
    assert len(errors) <= 64
    for error in errors:
        assert orjson.loads(orjson.dumps(error.model_dump(mode="json")))["code"] == error.code
