"""Self-contained HTML pages: their frame (``page.html``), tables, embedded pictures.

Text is escaped here, except in parameters that are said to be HTML.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from remembev.errors import DataError
from remembev.files import atomic_write

_PICTURES = {".gif": "image/gif", ".png": "image/png"}


def write_page(path: Path, *, title: str, lead: str, tiles: Mapping[str, str], body: str) -> None:
    """Write a page.

    Args:
        path: File to write.
        title: Title of the page.
        lead: Sentence below it.
        tiles: Key figures by label.
        body: The page's sections, HTML.
    """
    tile_html = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for label, value in tiles.items()
    )
    text = template("page.html").substitute(title=escape(title), lead=escape(lead), tiles=tile_html, body=body)
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def template(name: str, package: str = "remembev.viewing") -> Template:
    """Return an HTML template of a package."""
    return Template(files(package).joinpath(name).read_text(encoding="utf-8"))


def table(
    heads: Sequence[str], rows: Sequence[str], caption: str = "", *, groups: Mapping[str, int] | None = None
) -> str:
    """Return a table.

    Args:
        heads: Column headings, HTML.
        rows: Rows, HTML.
        caption: Text below the table.
        groups: Headings above the headings, HTML, and the number of columns that each spans.
    """
    group_cells = "".join(f'<th colspan="{span}">{name}</th>' for name, span in (groups or {}).items())
    group_row = f'<tr class="group">{group_cells}</tr>' if group_cells else ""
    head = "".join(f"<th>{name}</th>" for name in heads)
    caption_html = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{caption_html}<thead>{group_row}<tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def facts(title: str, values: Mapping[str, str]) -> str:
    """Return a table of names and values; an empty string if there are none."""
    rows = [f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in values.items()]
    return table((escape(title), ""), rows) if rows else ""


def figure(picture: Path, caption: str, kind: str = "") -> str:
    """Return an embedded GIF or PNG with its caption.

    Raises:
        DataError: The file is missing or neither GIF nor PNG.
    """
    try:
        image = embedded(_PICTURES[picture.suffix], picture.read_bytes(), caption)
    except (OSError, KeyError) as error:
        raise DataError(f"{picture} is not a readable GIF or PNG") from error
    return captioned(image, caption, kind)


def captioned(image: str, caption: str, kind: str = "") -> str:
    """Return an image (HTML) with its caption."""
    return f'<figure class="{kind}">{image}<figcaption>{escape(caption)}</figcaption></figure>'


def embedded(media: str, content: bytes, description: str) -> str:
    """Return an image embedded in the page."""
    encoded = base64.b64encode(content).decode("ascii")
    return f'<img src="data:{media};base64,{encoded}" alt="{escape(description)}">'


def embedded_svg(svg: str, description: str) -> str:
    """Return an SVG embedded in the page."""
    return embedded("image/svg+xml", svg.encode(), description)


def signed(value: float, digits: int = 3) -> str:
    """Return a difference with its sign, with a typographic minus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def details(title: str, body: str) -> str:
    """Return a part of the page (HTML) that is collapsed at first."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"
