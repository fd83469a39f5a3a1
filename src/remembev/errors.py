"""Errors that the user can fix.

Each names the file, key, token or shape that it is about. The command line prints them in one line; any other
exception is a bug and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """An input is wrong; the message says what, where, and what was expected."""


class ConfigError(UserError):
    """A key or value of a configuration is invalid."""


class DataError(UserError):
    """A data set, table, token or point file is missing, truncated or inconsistent."""


class CheckpointError(UserError):
    """A checkpoint can't be read, or doesn't fit the model."""


class StreamError(UserError):
    """A frame or state of a stream can't be used; the stream stays as it was."""


class ExportError(UserError):
    """A model can't be exported, or an exported file can't be run."""
