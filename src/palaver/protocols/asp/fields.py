"""The types of fields that several messages have, with the bounds of each."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from palaver.protocols.asp.config import NegotiatedConfig
from palaver.protocols.asp.errors import ProtocolError

__all__ = [
    "Count",
    "Digest",
    "Errors",
    "Features",
    "Id",
    "Language",
    "Milliseconds",
    "Negotiated",
    "Received",
    "SessionId",
    "Status",
    "Text",
    "Token",
    "Version",
    "Word",
]

SessionId: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=128, description="Id of the session, chosen by the client")
]
Id: TypeAlias = Annotated[str, Field(min_length=1, max_length=128)]
Word: TypeAlias = Annotated[str, Field(max_length=64)]
Text: TypeAlias = Annotated[str, Field(max_length=16_384)]
Language: TypeAlias = Annotated[
    str, Field(max_length=35, pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,8}$")
]
Milliseconds: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
Count: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
Version: TypeAlias = Annotated[
    str,
    Field(pattern=r"^[0-9]{1,6}\.[0-9]{1,6}\.[0-9]{1,6}$", description="Version of ASP (semver)"),
]
Features: TypeAlias = Annotated[
    tuple[Word, ...], Field(max_length=64, strict=False, description="Names of features")
]
Errors: TypeAlias = Annotated[
    tuple[ProtocolError, ...], Field(max_length=64, strict=False, description="Why it was rejected")
]
Digest: TypeAlias = Annotated[
    str, Field(max_length=128, description="Digest of the configuration that the sender runs")
]
Token: TypeAlias = Annotated[
    str, Field(min_length=1, max_length=256, description="What the session can be resumed with")
]
Received: TypeAlias = Annotated[
    int,
    Field(ge=0, le=2**53, description="How many messages of the session the sender has received"),
]
Status: TypeAlias = Annotated[
    Literal["accepted", "accepted_with_changes", "rejected"], Field(description="How it came out")
]
Negotiated: TypeAlias = Annotated[
    NegotiatedConfig, Field(description="What both run; left out where it was rejected")
]
