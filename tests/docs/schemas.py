"""The JSON Schemas of the wires, made from the messages that the code parses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from inspect import getmembers, isclass
from types import MappingProxyType, ModuleType
from typing import Any, Final

import orjson
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from palaver.protocols.a2a import messages as v10
from palaver.protocols.a2a.fields import WireModel
from palaver.protocols.a2a.v01 import messages as v01
from palaver.protocols.a2a.v03 import messages as v03
from palaver.protocols.asap.manifest import Manifest
from palaver.protocols.asap.messages import PAYLOADS, Envelope, StateSnapshot
from palaver.protocols.asp.config import VERSION
from palaver.protocols.asp.messages import MESSAGES, ASPMessage

__all__ = ["SCHEMAS"]

_DIALECT: Final = {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def _written(schema: Mapping[str, Any]) -> bytes:
    return orjson.dumps(_DIALECT | schema, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


# --- A2A ------------------------------------------------------------------------------------


def _a2a(module: ModuleType, generation: str) -> bytes:
    models = [
        model
        for name, model in getmembers(module, isclass)
        if issubclass(model, WireModel) and model.__module__ == module.__name__ and name[0] != "_"
    ]
    _, schema = models_json_schema(
        [(model, "validation") for model in models],
        title=f"A2A {generation}: the messages that Palaver takes and sends",
    )
    return _written(schema)


# --- ASAP -----------------------------------------------------------------------------------


class _AsapSchema(GenerateJsonSchema):
    """What is taken: a member without a value may be null."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Give no title to a member: its name says the same."""
        return False


def _asap(model: type[BaseModel]) -> bytes:
    schema = model.model_json_schema(schema_generator=_AsapSchema)
    for found in (schema, *schema.get("$defs", {}).values()):
        if "description" in found:
            found["description"] = _plain(found["description"])
    return _written(schema | {"$defs": schema.get("$defs", {})})


# --- ASP ------------------------------------------------------------------------------------


class _AspSchema(GenerateJsonSchema):
    """What should be sent: a member that has no value is left out, never null."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        """Offer the value only."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        """Tell a default where it is one value; those of an object stand in its own members."""
        if isinstance(schema.get("default"), BaseModel | None):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Give no title to a member: its name says the same."""
        return False


def _asp_message(message: type[ASPMessage]) -> bytes:
    schema = message.model_json_schema(schema_generator=_AspSchema)
    definitions = schema.pop("$defs", {})
    whole = _asp_object(message.__name__, schema, definitions)
    return _written(whole | _asp_definitions(whole, definitions))


def _asp_protocol() -> bytes:
    models = list(MESSAGES.values())
    _, schema = models_json_schema(
        [(model, "validation") for model in models], schema_generator=_AspSchema
    )
    one_of = {"oneOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in models]}
    return _written(
        {
            "title": f"ASP {VERSION}, the Audio Session Protocol",
            "description": "A text frame of the WebSocket holds one of these messages. "
            "Members that are not listed are ignored.",
            **one_of,
            **_asp_definitions(one_of, schema["$defs"]),
        }
    )


def _asp_definitions(schema: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions that a schema leads to, tidied."""
    tidy = {name: _asp_object(name, found, definitions) for name, found in definitions.items()}
    needed: set[str] = set()
    waiting = set(_references(schema))
    while waiting:
        name = waiting.pop()
        needed.add(name)
        waiting |= set(_references(tidy[name])) - needed
    return {"$defs": {name: tidy[name] for name in sorted(needed)}}


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        schema = list(schema.values())
    if isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _asp_object(
    name: str, schema: dict[str, Any], definitions: Mapping[str, Any]
) -> dict[str, Any]:
    """Tidy the schema of an object: its description, its ``type``, each of its members."""
    description = _plain(schema["description"])
    members = schema.get("properties", {})
    for member in members.values():
        _asp_member(member, definitions)
    required = schema.pop("required", [])
    kind = next((kind for kind, model in MESSAGES.items() if model.__name__ == name), None)
    if kind is not None:
        description = f"{description} {_asp_said(MESSAGES[kind])}"
        words = {"const": kind, "description": "What the message is", "type": "string"}
        members = {"type": words} | {at: found for at, found in members.items() if at != "type"}
        required = ["type", *required]
    shape = {"type": "object", "properties": members}
    tidy = {"title": name, "description": description} | (shape if members else schema)
    return tidy | ({"required": required} if required else {})


def _asp_member(member: dict[str, Any], definitions: Mapping[str, Any]) -> None:
    """Say of a member only what holds for what should be sent."""
    if "enum" in member:
        for bound in ("anyOf", "minimum", "maximum"):
            member.pop(bound, None)
        member["type"] = "string" if isinstance(member["enum"][0], str) else "integer"
    elif "$ref" in member:
        meaning = definitions[next(_references(member))]["description"]
        member.setdefault("description", _plain(meaning).partition(". ")[0].rstrip("."))
        member["type"] = "object"


def _plain(docstring: str) -> str:
    return " ".join(docstring.replace("``", "`").split())


def _asp_said(message: type[ASPMessage]) -> str:
    """Return who sends a message, and since when."""
    who = "either side" if len(message.sender) > 1 else f"the {next(iter(message.sender))}"
    if message.feature is None:
        return f"Sent by {who}."
    return f"Sent by {who}, where both know the feature `{message.feature}` (1.1)."


SCHEMAS: Final[Mapping[str, bytes]] = MappingProxyType(
    {
        "schemas/a2a/0.1.schema.json": _a2a(v01, "0.1"),
        "schemas/a2a/0.3.schema.json": _a2a(v03, "0.3"),
        "schemas/a2a/1.0.schema.json": _a2a(v10, "1.0"),
        "schemas/asp_protocol.schema.json": _asp_protocol(),
    }
    | {
        "schemas/asap/envelope.schema.json": _asap(Envelope),
        "schemas/asap/manifest.schema.json": _asap(Manifest),
        "schemas/asap/state_snapshot.schema.json": _asap(StateSnapshot),
    }
    | {
        f"schemas/asap/{kind.name.lower()}.schema.json": _asap(model)
        for kind, model in PAYLOADS.items()
    }
    | {
        f"schemas/asp/{kind}.schema.json": _asp_message(message)
        for kind, message in MESSAGES.items()
    }
)
"""Path of a schema → what it says."""
