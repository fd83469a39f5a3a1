"""Errors that are the user's to mend.

Each names the file, key, token or shape it is about. The command line prints them as one line; everything else is a
bug of ours and keeps its traceback.
"""

from __future__ import annotations


class UserError(Exception):
    """Something given to RememBEV is wrong: the message says what, where, and what would be right."""


class ConfigError(UserError):
    """A configuration key or value is not valid."""


class DataError(UserError):
    """A data set, table, token or point file is missing, truncated or inconsistent."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, or does not fit the model it is loaded into."""


class StreamError(UserError):
    """A frame given to a stream cannot be used; the state of the stream is as it was before."""


class ExportError(UserError):
    """A model cannot be exported, or an exported file cannot be run."""
