"""Parts as 0.1 and 0.3 spell them: told apart by a tag, ``type`` in the one, ``kind`` in the other.

1.0 tells its parts apart by their members.
"""

from __future__ import annotations

from palaver.model.content import DataPart, FilePart, Part, TextPart
from palaver.protocols.a2a.facts import Wire, with_metadata
from palaver.protocols.a2a.fields import FileContent
from palaver.protocols.a2a.v01 import messages as v01
from palaver.protocols.a2a.v03 import messages as v03

__all__ = ["read_tagged", "render_tagged"]


def render_tagged(tag: str, containers: type | tuple[type, ...], part: Part) -> Wire:
    """Return ``part`` with its ``tag``; data that is none of ``containers`` is wrapped in one."""
    if isinstance(part, TextPart):
        wire: Wire = {tag: "text", "text": part.text}
    elif isinstance(part, DataPart):
        data = part.data if isinstance(part.data, containers) else {"value": part.data}
        wire = {tag: "data", "data": data}
    else:
        return with_metadata({tag: "file", "file": _file(part)}, dict(part.metadata or {}))
    # Only files have fields for these.
    if part.media_type is not None or part.filename is not None:
        return with_metadata(wire, {**(part.metadata or {}), **_about(part)})
    if part.metadata:
        wire["metadata"] = dict(part.metadata)
    return wire


def _about(part: TextPart | DataPart) -> Wire:
    about: Wire = {}
    if part.media_type is not None:
        about["mediaType"] = part.media_type
    if part.filename is not None:
        about["filename"] = part.filename
    return about


def _file(part: FilePart) -> Wire:
    file: Wire = {}
    if part.filename is not None:
        file["name"] = part.filename
    if part.media_type is not None:
        file["mimeType"] = part.media_type
    if part.base64 is not None:
        file["bytes"] = part.base64
    else:
        file["uri"] = part.uri
    return file


def read_tagged(part: v01.MessagePart | v03.Part, tag: str, file: FileContent | None) -> Part:
    """Return the text that ``tag`` says ``part`` is, or else the ``file``, or else its data."""
    if tag == "text":
        return TextPart(part.text or "", metadata=part.metadata)
    if file is not None:
        return FilePart(file.bytes, file.uri, file.mime_type, file.name, part.metadata)
    return DataPart(part.data, metadata=part.metadata)
