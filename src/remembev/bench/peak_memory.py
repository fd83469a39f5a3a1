"""Peak memory of a process on a CPU, by the kernel's own high-water mark (Linux only): it misses nothing."""

from __future__ import annotations

import re
from pathlib import Path

from remembev.errors import UserError

_PROC = Path("/proc/self")


def reset_peak() -> int:
    """Bytes that are resident now, from which on the high-water mark starts anew.

    Raises UserError where the system doesn't tell.
    """
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError as error:
        raise UserError(f"peak memory on a CPU is Linux's to tell: {error}") from error
    return _status("VmRSS")


def peak() -> int:
    """Bytes that were resident at most since ``reset_peak``."""
    return _status("VmHWM")


def _status(name: str) -> int:
    """A size in bytes out of the kernel's status of this process."""
    found = re.search(rf"^{name}:\s+(\d+) kB$", (_PROC / "status").read_text(), re.MULTILINE)
    assert found is not None
    return 1024 * int(found[1])
