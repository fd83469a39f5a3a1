"""Every relative link of the documentation leads to a file, and to a heading where it names one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.conftest import REPOSITORY
from tests.docs.pages import LINKING, name, without_code

LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)(?:\s[^)]*)?\)")
HEADING = re.compile(r"^#+ +(.*?)(?: *\{ *#([\w.-]+).*\})?$", re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MkDocs both make them."""
    found = set()
    for title, explicit in HEADING.findall(re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)):
        words = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title).lower()
        found.add(explicit or re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(without_code(page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        there = target.exists() and target.is_relative_to(REPOSITORY)
        if not there or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_contributing_names_files_that_are_there() -> None:
    page = REPOSITORY / "CONTRIBUTING.md"
    paths = re.findall(r"`((?:src|tests|docs|dev|examples)/[\w/.-]*)`", page.read_text(encoding="utf-8"))
    assert paths
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []
