"""How much memory this process holds, from Linux's ``/proc``."""

from pathlib import Path


def held() -> int:
    """The bytes that the process holds now."""
    return _status("VmRSS")


def peak() -> int:
    """The most it has held; `getrusage` would count the process that started it."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Let the peak begin anew at what is held now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {field} in /proc/self/status")
