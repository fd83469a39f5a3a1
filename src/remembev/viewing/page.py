"""Pages that need nothing but themselves: their common frame (``page.html``), tables, pictures inside.

Text that is given is escaped here, except where a parameter is said to be HTML.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from remembev.errors import DataError
from remembev.files import replacing

_PICTURES = {".gif": "image/gif", ".png": "image/png"}


def write_page(path: Path, *, title: str, lead: str, tiles: Mapping[str, str], body: str) -> None:
    """Write a page: title, a sentence below it, what is to be seen at once (label → figure), and the body as HTML."""
    shown = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for label, value in tiles.items()
    )
    text = template("page.html").substitute(title=escape(title), lead=escape(lead), tiles=shown, body=body)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def template(name: str) -> Template:
    """A page or a part of one that lies beside this module, with gaps to be filled."""
    return Template(files("remembev.viewing").joinpath(name).read_text(encoding="utf-8"))


def table(
    heads: Sequence[str], rows: Sequence[str], caption: str = "", *, groups: Mapping[str, int] | None = None
) -> str:
    """A table of rows (HTML) under heads (HTML); ``groups`` are heads above the heads and how many each is above."""
    above = "".join(f'<th colspan="{width}">{name}</th>' for name, width in (groups or {}).items())
    head = "".join(f"<th>{name}</th>" for name in heads)
    below = f"<caption>{escape(caption)}</caption>" if caption else ""
    first = f'<tr class="group">{above}</tr>' if above else ""
    return f"<table>{below}<thead>{first}<tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def facts(title: str, known: Mapping[str, str]) -> str:
    """A table of two columns, nothing where there is nothing."""
    rows = [f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in known.items()]
    return table((escape(title), ""), rows) if rows else ""


def figure(picture: Path, caption: str, kind: str = "") -> str:
    """A GIF or PNG inside the page. Raises DataError if it is no such file."""
    try:
        image = embedded(_PICTURES[picture.suffix], picture.read_bytes(), caption)
    except (OSError, KeyError) as error:
        raise DataError(f"{picture} is no GIF or PNG that can be read") from error
    return captioned(image, caption, kind)


def captioned(image: str, caption: str, kind: str = "") -> str:
    """An image (HTML) with its caption."""
    return f'<figure class="{kind}">{image}<figcaption>{escape(caption)}</figcaption></figure>'


def embedded(media: str, content: bytes, description: str) -> str:
    """An image as part of the page."""
    encoded = base64.b64encode(content).decode("ascii")
    return f'<img src="data:{media};base64,{encoded}" alt="{escape(description)}">'


def embedded_svg(svg: str, description: str) -> str:
    """A drawing as part of the page."""
    return embedded("image/svg+xml", svg.encode(), description)


def signed(value: float, digits: int = 3) -> str:
    """A difference with its sign, a true minus."""
    return f"{value:+.{digits}f}".replace("-", "−")
