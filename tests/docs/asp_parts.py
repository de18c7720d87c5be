"""The parts of the ASP specification that repeat what the code says, in both languages."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel

from palaver.protocols.asp import inbound, limits, outgoing, quiet, text_frames
from palaver.protocols.asp.config import (
    FRAMES_PER_MESSAGE,
    Adjustment,
    AudioConfig,
    Framing,
    NegotiatedConfig,
    ProtocolCapabilities,
    SessionStatistics,
    VADConfig,
    config_digest,
)
from palaver.protocols.asp.errors import ERRORS, ProtocolError, close_code, protocol_error
from palaver.protocols.asp.messages import MESSAGES, Feature, Side
from palaver.protocols.asp.states import AUDIO, LINK, REJECTED, SESSION, UNNUMBERED
from tests.docs.asp_portuguese import PORTUGUESE
from tests.docs.asp_traces import DIGESTS, FRAMES, TRACES, canonical, hexadecimal
from tests.docs.asp_words import (
    FEATURES,
    FIXED,
    LANGUAGES,
    LAYOUTS,
    Language,
)
from tests.protocols.asp import samples

__all__ = ["ASP_PARTS", "MEMBERS_OF", "OBJECTS", "OF_1_0", "laid_out", "pieces", "said"]

_WIDTH: Final = 96

OF_1_0: Final[Mapping[str, str]] = MappingProxyType(
    {
        "protocol.capabilities": "version capabilities server_id",
        "protocol.error": "session_id error",
        "session.start": "session_id call_id audio vad metadata",
        "session.started": "session_id status negotiated errors",
        "session.update": "session_id vad",
        "session.updated": "session_id status negotiated errors",
        "session.end": "session_id reason",
        "session.ended": "session_id duration_seconds statistics",
        "audio.speech_start": "session_id",
        "audio.speech_end": "session_id duration_ms",
        "audio.end": "session_id",
        "response.start": "session_id text",
        "response.end": "session_id",
        "AudioConfig": "sample_rate encoding channels frame_duration_ms",
        "VADConfig": "enabled silence_threshold_ms min_speech_ms threshold ring_buffer_frames "
        "speech_ratio prefix_padding_ms",
        "NegotiatedConfig": "audio vad adjustments",
        "Adjustment": "field requested applied reason",
        "SessionStatistics": "audio_frames_received audio_frames_sent vad_speech_events "
        "barge_in_count average_response_latency_ms",
        "ProtocolCapabilities": "version supported_sample_rates supported_encodings "
        "supported_frame_durations vad_configurable vad_parameters max_session_duration_seconds "
        "features",
        "ProtocolError": "code category message details recoverable",
    }
)
"""Message or object → its members that 1.0.0 has; all others came with 1.1."""

MEMBERS_OF: Final[Mapping[Feature, Mapping[str, str]]] = MappingProxyType(
    {
        Feature.AUDIO_OFFERS: {"session.start": "audio_offers"},
        Feature.CONFIG_DIGEST: {
            "session.started": "config_digest",
            "session.updated": "config_digest",
        },
        Feature.SPEECH_EVENTS: {
            "audio.speech_start": "start_ms prefix_ms confirmed",
            "audio.speech_end": "start_ms end_ms discarded reason",
        },
        Feature.RESPONSE_CONTROL: {
            "response.start": "response_id generation",
            "response.end": "response_id interrupted sent_ms played_ms reason",
        },
        Feature.SESSION_RESUME: {"session.started": "resume_token resume_window_ms"},
        Feature.TURN_OVERRIDES: {"session.update": "scope"},
    }
)
"""Feature → message of 1.0.0 → the members that it adds there."""

OBJECTS: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(
    {
        model.__name__: model
        for model in (
            ProtocolCapabilities,
            AudioConfig,
            VADConfig,
            NegotiatedConfig,
            Adjustment,
            SessionStatistics,
            ProtocolError,
        )
    }
)


def said(text: str, language: Language) -> str:
    """Return a description in that language."""
    plain = text.removesuffix(" (1.1)")
    return (plain if language.code == "en" else PORTUGUESE.get(plain, plain)).replace("``", "`")


def laid_out(value: Any, indent: int = 0, behind: int = 0) -> str:
    """Return JSON as it stands in the documents: in one line where that is short."""
    plain = json.dumps(value, ensure_ascii=False)
    if len(plain) + indent + behind <= _WIDTH or not isinstance(value, dict | list):
        return plain
    inner = " " * (indent + 2)
    if isinstance(value, dict):
        heads = [f"{json.dumps(name)}: " for name in value]
        items = [
            head + laid_out(one, indent + 2, len(head) + 1)
            for head, one in zip(heads, value.values(), strict=True)
        ]
        begin, end = "{", "}"
    else:
        items = [laid_out(one, indent + 2, 1) for one in value]
        begin, end = "[", "]"
    return f"{begin}\n{inner}" + f",\n{inner}".join(items) + f"\n{' ' * indent}{end}"


def _table(*columns: str) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)


def _code(words: Iterable[object]) -> str:
    return ", ".join(f"`{word}`" for word in words)


# --- messages and objects -------------------------------------------------------------------


def _message(kind: str, language: Language) -> Iterator[str]:
    message = MESSAGES[kind]
    sides = [side for side in Side if side in message.sender]
    facts = [
        f"{language.word('Sent by')}: {language.sides(sides)}",
        f"{language.word('since')} {_since_message(kind)}",
        language.word("counted" if kind not in UNNUMBERED and _in_session(kind) else "not counted"),
    ]
    if message.feature is not None:
        facts.insert(2, f"{language.word('needs')} `{message.feature}`")
    yield " · ".join(facts)
    yield ""
    yield from _fields(kind, message, language)
    for title, sample in _samples(kind):
        yield ""
        if title:
            yield f"{language.word(title)}:"
            yield ""
        yield "```json"
        yield laid_out(sample)
        yield "```"


def _in_session(kind: str) -> bool:
    return "session_id" in MESSAGES[kind].model_fields


def _samples(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the examples of a message; a digest is that of what it stands for."""
    good = dict(samples.SAMPLES[kind])
    if "config_digest" in good:
        found = good.get("negotiated", samples.SAMPLES["session.started"]["negotiated"])
        config = NegotiatedConfig.model_validate(found)
        good["config_digest"] = config_digest(config.audio, config.vad)
    bad = samples.REJECTED.get(kind)
    yield ("" if bad is None else "Accepted", good)
    if bad is not None:
        yield "Rejected", bad


def _fields(name: str, model: type[BaseModel], language: Language) -> Iterator[str]:
    schema = model.model_json_schema()
    required = {field for field, info in model.model_fields.items() if info.is_required()}
    yield from _table(*language.words("field", "type", "", "default", "range", "since", "meaning"))
    for field, found in schema["properties"].items():
        if field in {"type", "timestamp"}:
            continue
        kind, bounds, text = _declared(found, schema.get("$defs", {}), language)
        cells = (
            f"`{field}`",
            kind,
            language.word("required" if field in required else "optional"),
            _default(found.get("default"), language),
            bounds or "-",
            _since(name, field),
            said(text, language),
        )
        yield f"| {' | '.join(cells)} |"


def _since(name: str, field: str) -> str:
    if field in OF_1_0.get(name, "").split():
        return "1.0.0"
    for feature, members in MEMBERS_OF.items():
        if field in members.get(name, "").split():
            return f"1.1.0, `{feature}`"
    return "1.1.0"


def _since_message(kind: str) -> str:
    return "1.0.0" if kind in OF_1_0 else "1.1.0"


def _declared(
    found: Mapping[str, Any], known: Mapping[str, Any], language: Language
) -> tuple[str, str, str]:
    """Return type, range and description of a member, from its JSON Schema."""
    description = found.get("description", "")
    inner = dict(found)
    choices = [one for one in found.get("anyOf", ()) if one.get("type") != "null"]
    if choices:
        inner = {**choices[-1], **{name: found[name] for name in ("enum",) if name in found}}
        description = description or inner.get("description", "")
    if "$ref" in inner:
        name = inner["$ref"].rpartition("/")[2]
        meaning = known[name].get("description", "").split(". ")[0].split("\n")[0].rstrip(".")
        return f"[{name}](#{name.lower()})", "", description or meaning
    return _type(inner, known, language), _bounds(inner, language), description


def _type(found: Mapping[str, Any], known: Mapping[str, Any], language: Language) -> str:
    kind = found.get("type", "string")
    if isinstance(kind, list):
        return ", ".join(language.word(one) for one in kind)
    if kind == "array":
        items, _, _ = _declared(found["items"], known, language)
        return f"{language.word('array of')} {items}"
    return language.word(kind)


def _bounds(found: Mapping[str, Any], language: Language) -> str:
    if "enum" in found:
        return _code(found["enum"])
    if "const" in found:
        return f"`{found['const']}`"
    if "pattern" in found:
        return f"`{found['pattern']}`".replace("|", "\\|")
    for least, most, what in (
        ("minimum", "maximum", ""),
        ("minLength", "maxLength", "characters"),
        ("minItems", "maxItems", "items"),
        ("minProperties", "maxProperties", "members"),
    ):
        if most in found:
            low, high = found.get(least, 0), found[most]
            text = f"±{_number(high)}" if low == -high else f"{_number(low)}-{_number(high)}"
            return f"{text} {language.word(what)}" if what else text
    return ""


def _number(value: float) -> str:
    if abs(value) == 2**53:
        return "2^53" if value > 0 else "-2^53"
    return f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"


def _default(value: Any, language: Language) -> str:
    if value is None:
        return "-"
    if isinstance(value, dict):
        return language.word("its defaults")
    return f"`{json.dumps(value)}`"


# --- states ---------------------------------------------------------------------------------


def _diagram(table: Mapping[str, Mapping[str, str]], first: str) -> Iterator[str]:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {first}"
    for state, rows in table.items():
        for following, steps in _grouped(rows):
            if following != state:
                yield f"    {state} --> {following} : {', '.join(steps)}"
        if not rows:
            yield f"    {state} --> [*]"
    yield "```"


def _grouped(rows: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    groups: dict[str, list[str]] = {}
    for step, following in rows.items():
        words = step.replace(REJECTED, " (rejected)")
        groups.setdefault(str(following), []).append(words)
    return list(groups.items())


def _states(side: Side, language: Language) -> Iterator[str]:
    table = {str(state): rows for state, rows in SESSION[side].items()}
    yield from _diagram(table, "idle")
    yield ""
    yield from _table(*language.words("state", "message", "sent by", "then"))
    for state, rows in table.items():
        # Before its start was answered, and after its end, a client hears more than it says.
        hears = side is Side.CLIENT and state in {"negotiating", "ending"}
        for following, steps in _grouped(rows):
            for sides, kinds in _by_sender(steps, hears=hears):
                then = language.word("the same") if following == state else f"`{following}`"
                yield f"| `{state}` | {_code(kinds)} | {language.sides(sides)} | {then} |"
        if not rows:
            yield f"| `{state}` | {language.word('none')} | - | - |"


def _by_sender(steps: Iterable[str], *, hears: bool) -> list[tuple[list[Side], list[str]]]:
    found: dict[tuple[Side, ...], list[str]] = {}
    for step in steps:
        kind = step.partition(" ")[0]
        sender = frozenset(Side) if kind == AUDIO else MESSAGES[kind].sender
        if hears and Side.SERVER in sender:
            sender = {Side.SERVER}
        found.setdefault(tuple(side for side in Side if side in sender), []).append(step)
    return [(list(sides), kinds) for sides, kinds in found.items()]


def _link(_language: Language) -> Iterator[str]:
    yield from _diagram({str(state): rows for state, rows in LINK.items()}, "connected")


# --- errors, limits, features ---------------------------------------------------------------


def _errors(language: Language) -> Iterator[str]:
    yield from _table(
        *language.words("code", "name", "category", "meaning", "cure", "recoverable", "since"),
        language.word("closes with"),
    )
    for code, rule in ERRORS.items():
        error = protocol_error(code, "")
        cells = (
            str(int(code)),
            f"`{error.name}`",
            f"`{error.category}`",
            said(rule.meaning, language),
            said(rule.recovery, language),
            language.word("yes" if rule.recoverable else "no"),
            rule.since,
            "-" if rule.recoverable else str(close_code(code)),
        )
        yield f"| {' | '.join(cells)} |"


def _limits(language: Language) -> Iterator[str]:
    yield from _table(*language.words("limit", "default", "meaning"))
    texts = described(limits.Limits)
    defaults = limits.Limits()
    for field in fields(limits.Limits):
        value = getattr(defaults, field.name)
        shown = f"{value:g} s" if isinstance(value, float) else f"{value}"
        yield f"| `{field.name}` | {shown} | {said(texts[field.name], language)} |"


def described(kind: type) -> dict[str, str]:
    """Return what stands behind each attribute of a class, on one line."""
    body = ast.parse(inspect.getsource(kind)).body[0].body  # type: ignore[attr-defined]
    found = {}
    for node, after in pairwise(body):
        if isinstance(node, ast.AnnAssign) and isinstance(after, ast.Expr):
            text = ast.literal_eval(after.value)
            found[ast.unparse(node.target)] = re.sub(r"\s+", " ", text).strip()
    return found


def _fixed(language: Language) -> Iterator[str]:
    yield from _table(*language.words("what", "limit"))
    values = (
        text_frames.MAX_TEXT,
        FRAMES_PER_MESSAGE,
        inbound._MAX_LOOSE_BYTES,
        outgoing.ACK_INTERVAL,
        f"{quiet._QUIET:g}",
    )
    for text, value in zip(FIXED, values, strict=True):
        yield f"| {said(text, language)} | {value} |"


def _features(language: Language) -> Iterator[str]:
    yield from _table(*language.words("feature", "what it adds", "messages", "members"))
    for feature in Feature:
        gated = [kind for kind, message in MESSAGES.items() if message.feature is feature]
        members = [
            f"{kind}.{member}"
            for kind, names in MEMBERS_OF.get(feature, {}).items()
            for member in names.split()
        ]
        text = said(FEATURES[feature], language)
        yield f"| `{feature}` | {text} | {_code(gated) or '-'} | {_code(members) or '-'} |"


# --- worked examples ------------------------------------------------------------------------


def _trace(name: str, _language: Language) -> Iterator[str]:
    for index, message in enumerate(TRACES[name]()):
        if index:
            yield ""
        yield "```json"
        yield laid_out(message)
        yield "```"


def _digests(language: Language) -> Iterator[str]:
    for index, (audio, vad) in enumerate(DIGESTS):
        text, digest = canonical(audio, vad)
        if index:
            yield ""
        yield from ("```text", text, "```", "", f"{language.word('digest')}: `{digest}`")


def _frame(framing: Framing, sender: Side, language: Language) -> Iterator[str]:
    header = bytes.fromhex(hexadecimal(framing, sender))
    yield from ("```hex", header.hex(" "), "```", "")
    yield from _table(*language.words("byte", "type", "meaning", "here"))
    position = 0
    for size, kind, meaning in LAYOUTS[framing, sender]:
        shown = header[position : position + size].hex(" ")
        last = position + size - 1
        where = f"{position}" if size == 1 else f"{position}-{last}"
        yield f"| {where} | {kind} | {said(meaning, language)} | `{shown}` |"
        position += size
    yield f"| {position}- | | {language.word('audio')} | `{header[position:].hex(' ')}` |"


# --- all of them ----------------------------------------------------------------------------


def _parts() -> Iterator[tuple[str, tuple[str, Callable[[], Iterator[str]]]]]:
    makers: dict[str, Callable[[Language], Iterator[str]]] = {
        kind: partial(_message, kind) for kind in MESSAGES
    }
    makers |= {name: partial(_fields, name, model) for name, model in OBJECTS.items()}
    makers |= {f"states.{side}": partial(_states, side) for side in Side}
    makers |= {
        "states.socket": _link,
        "errors": _errors,
        "limits": _limits,
        "fixed": _fixed,
        "features": _features,
    }
    makers |= {f"trace.{name}": partial(_trace, name) for name in TRACES}
    makers |= {
        f"frame.{framing}.{sender}": partial(_frame, framing, sender) for framing, sender in FRAMES
    }
    makers["digests"] = _digests
    for language in LANGUAGES:
        for name, make in makers.items():
            yield f"asp.{language.code}.{name}", (language.document, partial(make, language))


ASP_PARTS: Final[Mapping[str, tuple[str, Callable[[], Iterator[str]]]]] = MappingProxyType(
    dict(_parts())
)
"""Name of a part → the document that has it, and what it says."""


def pieces() -> Iterator[str]:
    """Return each text that stands in a table and has to be there in both languages."""
    for model in (*MESSAGES.values(), *OBJECTS.values()):
        schema = model.model_json_schema()
        for field, found in schema["properties"].items():
            if field not in {"type", "timestamp"}:
                yield _declared(found, schema.get("$defs", {}), LANGUAGES[0])[2]
    for rule in ERRORS.values():
        yield from (rule.meaning, rule.recovery)
    yield from described(limits.Limits).values()
    yield from FEATURES.values()
    yield from FIXED
    for layout in LAYOUTS.values():
        yield from (meaning for _, _, meaning in layout)
