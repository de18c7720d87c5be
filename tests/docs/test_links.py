"""Links inside of the tree lead somewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.documents import ALL, ROOT, anchors, links


@pytest.mark.parametrize("document", ALL, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Each relative link names a file of the tree, and an anchor that the file has."""
    for link in links(document):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        assert target.exists(), f"{link}: there is no {target}"
        assert target.is_relative_to(ROOT), f"{link} leads out of the tree"
        if anchor:
            assert anchor in anchors(target), f"{link}: it has {sorted(anchors(target))}"


def test_every_document_is_in_the_index() -> None:
    """``docs/README.md`` names each document and each decision."""
    index = ROOT / "docs" / "README.md"
    named = {(index.parent / link).resolve() for link in links(index)}
    written = {*(ROOT / "docs").rglob("*.md")} - {index}
    assert written <= named, sorted(str(path) for path in written - named)
