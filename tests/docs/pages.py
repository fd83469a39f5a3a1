"""The pages whose commands and code are run, and the fenced blocks in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("start/*.md"))]
PAGES += sorted((REPOSITORY / "docs").glob("guides/*.md"))
LINKING = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), *REPOSITORY.glob("src/**/*.md")]
LINKING += [*REPOSITORY.glob("dev/*.md"), *REPOSITORY.glob(".github/**/*.md"), *REPOSITORY.glob("examples/*.md")]

_FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^\n]+?) -->\n+)?"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```",
    re.MULTILINE | re.DOTALL,
)


def name(page: Path) -> str:
    """Return a page's path in the repository."""
    return str(page.relative_to(REPOSITORY))


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: where its text begins, from 1.
        not_run: the reason of ``<!-- not run: reason -->`` on the line before it.
    """

    language: str
    text: str
    line: int
    not_run: str | None


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    markdown = page.read_text(encoding="utf-8")
    return [
        Block(
            language=fence["language"],
            text=re.sub(f"^{fence['indent']}", "", fence["text"], flags=re.MULTILINE),
            line=markdown.count("\n", 0, fence.start("text")) + 1,
            not_run=fence["reason"],
        )
        for fence in _FENCE.finditer(markdown)
    ]


def without_code(markdown: str) -> str:
    """Return a page without its fenced blocks and inline code."""
    return re.sub(r"`[^`\n]+`", "", _FENCE.sub("", markdown))
