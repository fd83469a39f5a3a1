"""Griffe extension: the comments behind a class's fields are its documentation's list of attributes."""

from __future__ import annotations

from typing import Any

from griffe import Attribute, Class, Extension


class FieldComments(Extension):
    """Appends an Attributes section, made of ``name: type  # comment``, to docstrings that have none."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Append the section to a class."""
        if cls.docstring is None or "Attributes:" in cls.docstring.value:
            return
        members = [member for member in cls.members.values() if isinstance(member, Attribute) and not member.is_private]
        comments = {member.name: _comment(member) for member in members if member.docstring is None}
        lines = [f"    {name}: {comment}" for name, comment in comments.items() if comment]
        if lines:
            cls.docstring.value = "\n".join([cls.docstring.value, "", "Attributes:", *lines])


def _comment(field: Attribute) -> str:
    """Return the comment at the end of a field's line."""
    line = field.lines_collection[field.filepath][(field.endlineno or 1) - 1]
    comment = line.partition("  # ")[2]
    return "" if comment.startswith(("type:", "noqa", "fmt:")) else comment
