"""Messages and configurations at random, made from what the models declare."""

from __future__ import annotations

import types
from collections.abc import Iterable
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen, MinLen
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from palaver.protocols.asp.config import (
    FRAME_DURATIONS_MS,
    SAMPLE_RATES_HZ,
    AudioConfig,
    AudioEncoding,
    Framing,
    ProtocolCapabilities,
    VADConfig,
)
from palaver.protocols.asp.messages import MESSAGES, ASPMessage
from palaver.protocols.asp.negotiation import ConfigRequest

__all__ = [
    "built",
    "capabilities",
    "json_values",
    "legal_messages",
    "messages",
    "requests",
    "texts",
    "unhurried",
]

unhurried: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: how busy the machine is says nothing of the code."""

_FEW: Final = 6
"""Characters and items at most: what is longer tells nothing new."""

texts = st.text(st.characters(codec="utf-8"), max_size=_FEW)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
_scalars = (
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(-1e9, 1e9)
    | st.sampled_from(["opus", "", "pcm_s16le"])
)


def built(model: type[BaseModel], *, legal: bool = False) -> st.SearchStrategy[Any]:
    """Return instances of a model; ``legal``: only with the values that a peer should send.

    A member with a default may be left out; one that may be ``None`` never is.
    """
    required, optional = {}, {}
    for name, field in model.model_fields.items():
        values = _values(field.annotation, [field], legal=legal)
        (required if field.is_required() else optional)[name] = values
    members = st.fixed_dictionaries(required, optional=optional)
    return members.map(lambda given: model(**given))


def _values(annotation: Any, metadata: Iterable[Any], *, legal: bool) -> st.SearchStrategy[Any]:
    """Return the values of an annotation."""
    facts = list(_facts(metadata, legal=legal))
    origin, arguments = get_origin(annotation), get_args(annotation)
    for fact in facts:
        if isinstance(fact, dict) and "enum" in fact:
            return st.sampled_from(fact["enum"])
    if origin is Annotated:
        return _values(arguments[0], [*arguments[1:], *facts], legal=legal)
    if origin in {Union, types.UnionType}:
        kinds = [kind for kind in arguments if kind is not types.NoneType]
        return st.one_of(_values(kind, facts, legal=legal) for kind in kinds)
    if origin is tuple:
        least, most = _size(facts)
        items = _values(arguments[0], [], legal=legal)
        return st.lists(items, min_size=least, max_size=most).map(tuple)
    return _plain(annotation, facts, legal=legal)


def _plain(kind: Any, facts: list[Any], *, legal: bool) -> st.SearchStrategy[Any]:
    """Return the values of what is no list and has no branches."""
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is dict:
        return st.dictionaries(texts, json_values, max_size=3)
    if kind is Any:
        return _scalars
    if issubclass(kind, BaseModel):
        return built(kind, legal=legal)
    return _strings(facts) if kind is str else _simple(kind, facts)


def _strings(facts: list[Any]) -> st.SearchStrategy[str]:
    longest = min((one.max_length for one in facts if isinstance(one, MaxLen)), default=99)
    for fact in facts:
        if getattr(fact, "pattern", None):
            matching = st.from_regex(fact.pattern, fullmatch=True)
            return matching.filter(lambda text: len(text) <= longest)
    least, most = _size(facts)
    return st.text(st.characters(codec="utf-8"), min_size=least, max_size=most)


def _simple(kind: Any, facts: list[Any]) -> st.SearchStrategy[Any]:
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    if kind is bool:
        return st.booleans()
    least = max(_bounds(facts, Ge, "ge", "minimum"))
    most = min(_bounds(facts, Le, "le", "maximum"))
    return st.integers(int(least), int(most)) if kind is int else st.floats(least, most)


def _facts(metadata: Iterable[Any], *, legal: bool) -> Iterable[Any]:
    """Return what is said of a value, one level deep."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from _facts(item.metadata, legal=legal)
            if legal and isinstance(item.json_schema_extra, dict):
                yield item.json_schema_extra
        else:
            yield item


def _bounds(facts: list[Any], kind: Any, attribute: str, word: str) -> list[float]:
    found = [getattr(fact, attribute) for fact in facts if isinstance(fact, kind)]
    return found + [fact[word] for fact in facts if isinstance(fact, dict) and word in fact]


def _size(facts: list[Any]) -> tuple[int, int]:
    least = max((fact.min_length for fact in facts if isinstance(fact, MinLen)), default=0)
    most = min((fact.max_length for fact in facts if isinstance(fact, MaxLen)), default=_FEW)
    return least, min(most, _FEW)


def messages(kind: type[ASPMessage], *, legal: bool = False) -> st.SearchStrategy[ASPMessage]:
    """Return messages of one kind."""
    return built(kind, legal=legal)


legal_messages = st.one_of(built(kind, legal=True) for kind in MESSAGES.values())


def _listed(known: Iterable[Any], *unknown: Any) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from([*known, *unknown]), max_size=4).map(tuple)


capabilities: st.SearchStrategy[ProtocolCapabilities] = built(ProtocolCapabilities) | st.builds(
    ProtocolCapabilities,
    supported_sample_rates=_listed(SAMPLE_RATES_HZ, 44_100, -1),
    supported_encodings=_listed(map(str, AudioEncoding), "opus"),
    supported_frame_durations=_listed(FRAME_DURATIONS_MS, 0),
    supported_framings=_listed(map(str, Framing), ""),
    vad_configurable=st.booleans(),
    vad_parameters=_listed(VADConfig.model_fields, "volume"),
    vad_defaults=built(VADConfig),
)
"""Of any server, also one that lists nothing, or nonsense."""

_audio = built(AudioConfig) | built(AudioConfig, legal=True)
requests: st.SearchStrategy[ConfigRequest] = st.builds(
    ConfigRequest,
    audio=_audio,
    vad=built(VADConfig) | built(VADConfig, legal=True),
    offers=st.lists(_audio, max_size=4).map(tuple),
    mode=st.sampled_from(["strict", "adjust"]),
)
