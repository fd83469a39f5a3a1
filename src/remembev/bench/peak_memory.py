"""Peak memory of a process on a CPU, by the kernel's high-water mark (Linux only)."""

from __future__ import annotations

import re
from pathlib import Path

from remembev.errors import UserError

_PROC = Path("/proc/self")


def reset_peak() -> int:
    """Reset the high-water mark and return the resident bytes.

    Raises:
        UserError: If the system can't measure it.
    """
    try:
        (_PROC / "clear_refs").write_text("5")
    except OSError as error:
        raise UserError(f"peak CPU memory can only be measured on Linux: {error}") from error
    return _status("VmRSS")


def peak() -> int:
    """Return the peak of resident bytes since ``reset_peak``."""
    return _status("VmHWM")


def _status(name: str) -> int:
    """Return a size in bytes from the kernel's status of this process."""
    match = re.search(rf"^{name}:\s+(\d+) kB$", (_PROC / "status").read_text(), re.MULTILINE)
    assert match is not None
    return 1024 * int(match[1])
