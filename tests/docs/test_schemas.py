"""The JSON Schemas of ASP take what the code takes and sends, judged by another house's reader."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from palaver.protocols.asp.errors import Rejection
from palaver.protocols.asp.messages import MESSAGES, ASPMessage, parse_message
from tests.docs.schemas import SCHEMAS
from tests.protocols.asp.samples import SAMPLES, every_sample
from tests.protocols.asp.strategies import json_values, legal_messages, unhurried

_WHOLE: Final = Draft202012Validator(orjson.loads(SCHEMAS["schemas/asp_protocol.schema.json"]))
_EACH: Final = {
    kind: Draft202012Validator(orjson.loads(SCHEMAS[f"schemas/asp/{kind}.schema.json"]))
    for kind in MESSAGES
}
_FREE: Final = {"metadata", "details"}
"""Members whose inside is the business of those who put it there."""


def _kind(message: dict[str, Any]) -> str:
    return str(message["type"])


@pytest.mark.parametrize("where", SCHEMAS)
def test_schemas_are_schemas(where: str) -> None:
    """Each schema is valid as one of the draft that it names, and says what it is of."""
    schema = orjson.loads(SCHEMAS[where])
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"]
    Draft202012Validator.check_schema(schema)


def test_the_whole_schema_is_one_of_all_messages() -> None:
    """Each message has a definition in the whole schema, the same as in its own."""
    schema = _WHOLE.schema
    names = [branch["$ref"].rpartition("/")[2] for branch in schema["oneOf"]]
    assert names == [message.__name__ for message in MESSAGES.values()]
    for name, own in zip(names, _EACH.values(), strict=True):
        alone = {key: value for key, value in own.schema.items() if key not in {"$schema", "$defs"}}
        assert schema["$defs"][name] == alone
        assert own.schema["$defs"].items() <= schema["$defs"].items()


@pytest.mark.parametrize("name", _WHOLE.schema["$defs"])
def test_every_member_says_what_it_is(name: str) -> None:
    """Each object and each member has a type and a description; none is null."""
    schema = _WHOLE.schema["$defs"][name]
    assert schema["title"] == name
    assert schema["type"] == "object"
    assert schema["description"]
    for member, found in schema["properties"].items():
        assert found["type"], member
        assert found["description"], member
        assert found.get("default", "") is not None
    assert '"null"' not in orjson.dumps(schema).decode()


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_what_is_required_is_told(message: type[ASPMessage]) -> None:
    """The type is required, and each member that the code has no default for."""
    required = {name for name, field in message.model_fields.items() if field.is_required()}
    schema = _EACH[message.message_type].schema
    assert schema["required"][0] == "type"
    assert set(schema["required"]) == {"type"} | required
    assert schema["properties"]["type"]["const"] == message.message_type
    assert set(schema["properties"]) == set(message.model_fields)


@pytest.mark.parametrize("sample", every_sample(), ids=_kind)
def test_examples_are_valid(sample: dict[str, Any]) -> None:
    """Each example is valid by its own schema, by the whole one, and by no other."""
    assert _WHOLE.is_valid(sample)
    assert [kind for kind, schema in _EACH.items() if schema.is_valid(sample)] == [sample["type"]]


@pytest.mark.parametrize("sample", every_sample(), ids=_kind)
def test_examples_without_a_required_member_are_not_valid(sample: dict[str, Any]) -> None:
    """What leaves out a member that is required is refused, inside of a message too."""
    _EACH[sample["type"]].validate(sample)
    count = 0
    for path, holder in _walk(sample):
        for name in _required(sample["type"], path):
            without = {key: value for key, value in holder.items() if key != name}
            _refused(sample, path, without)
            count += 1
    assert count >= len(_EACH[sample["type"]].schema["required"])


@pytest.mark.parametrize("sample", every_sample(), ids=_kind)
def test_examples_with_a_wrong_type_are_not_valid(sample: dict[str, Any]) -> None:
    """What has a value of another type in any member, at any depth, is refused; null too."""
    for path, holder in _walk(sample):
        for name, value in holder.items():
            for other in _wrong(name, value):
                _refused(sample, path, holder | {name: other})


def _wrong(name: str, value: Any) -> list[Any]:
    """Return values that a member cannot have, given one that it can."""
    if isinstance(value, list):
        return [None, {}, "x", [None, *value[1:]]]
    if name in {"requested", "applied"}:
        return [None, [], {}]
    return [None, [], 5 if isinstance(value, str | dict) else "x"]


def _walk(
    found: dict[str, Any], path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Yield each object of a message that has a schema, with the way to it."""
    yield path, found
    for name, value in found.items():
        if isinstance(value, dict) and name not in _FREE:
            yield from _walk(value, (*path, name))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    yield from _walk(item, (*path, name, index))


def _required(kind: str, path: tuple[str | int, ...]) -> list[str]:
    """Return what the object at that place must have."""
    schema = _EACH[kind].schema
    definitions = schema["$defs"]
    for step in path:
        schema = schema["items"] if isinstance(step, int) else schema["properties"][step]
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rpartition("/")[2]]
    return list(schema.get("required", ()))


def _refused(sample: dict[str, Any], path: tuple[str | int, ...], holder: dict[str, Any]) -> None:
    """Hold that both schemas refuse the message with another object in that place."""
    changed: Any = deepcopy(sample) if path else holder
    if path:
        where = changed
        for step in path[:-1]:
            where = where[step]
        where[path[-1]] = holder
    assert not _EACH[sample["type"]].is_valid(changed), (path, holder)
    assert not _WHOLE.is_valid(changed), (path, holder)


@unhurried
@given(legal_messages)
def test_whatever_should_be_sent_is_valid(message: ASPMessage) -> None:
    """Any message with values of the tables is valid as it is written."""
    written = orjson.loads(message.to_json())
    _EACH[message.message_type].validate(written)
    assert _WHOLE.is_valid(written)


_OTHER_VALUES = json_values.filter(lambda found: not isinstance(found, float) or found % 1 != 0)


@unhurried
@given(st.sampled_from(list(SAMPLES.values())), st.data())
def test_whatever_is_valid_is_read(sample: dict[str, Any], data: st.DataObject) -> None:
    """What a schema takes, the parser takes; 1.0 alone is an integer to one, not to the other."""
    name = data.draw(st.sampled_from([*sample, "zz_new"]))
    changed = sample | {name: data.draw(_OTHER_VALUES)}
    try:
        parse_message(orjson.dumps(changed))
    except Rejection:
        assert not _WHOLE.is_valid(changed)
