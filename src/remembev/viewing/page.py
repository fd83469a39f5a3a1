"""Pages that need nothing but themselves: their common frame (``page.html``), tables, pictures inside.

Text that is given is escaped here, except where a parameter is said to be HTML.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from statistics import mean, stdev
from string import Template

from remembev.errors import DataError
from remembev.files import atomic_write

_PICTURES = {".gif": "image/gif", ".png": "image/png"}


def write_page(path: Path, *, title: str, lead: str, tiles: Mapping[str, str], body: str) -> None:
    """Write a page: title, a sentence below it, what is to be seen at once (label → figure), and the body as HTML."""
    shown = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(label)}</span></div>' for label, value in tiles.items()
    )
    text = template("page.html").substitute(title=escape(title), lead=escape(lead), tiles=shown, body=body)
    with atomic_write(path) as temporary:
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


def details(title: str, body: str) -> str:
    """A part of the page (HTML) that is closed at first."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


def dots(values: Sequence[float], limit: float, colour: str) -> str:
    """Values as dots on a line from -limit to limit, with a mark at 0 and a shade of mean ± standard deviation."""
    width, height, middle = 150, 18, 75

    def place(value: float) -> float:
        return round(middle + (middle - 5) * max(-1.0, min(1.0, value / limit if limit else 0.0)), 1)

    shade = ""
    if len(values) > 1:
        low, high = (place(mean(values) + sign * stdev(values)) for sign in (-1, 1))
        shade = f'<rect x="{low}" y="4" width="{high - low:.1f}" height="10" rx="3" fill="{colour}" opacity=".18"/>'
    marks = "".join(
        f'<circle cx="{place(value)}" cy="{height // 2}" r="3.2" fill="{colour}" opacity=".85"/>' for value in values
    )
    line = f'<path d="M0 {height // 2}H{width}M{middle} 1V{height - 1}" stroke="#c4ccd6" fill="none"/>'
    return (
        f'<svg class="dots" viewBox="0 0 {width} {height}" width="{width}" height="{height}">{line}{shade}{marks}</svg>'
    )
