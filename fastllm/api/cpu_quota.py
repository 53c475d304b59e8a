"""How much processor time the control groups of Linux give to this process.

A container that may use 1.5 processors sees all those of its host: the limit is a quota of time in
each period, written in files of the control group (cgroup) that the process is in. An outer group
may have a lower one, so all groups on the way are asked:

    /proc/self/cgroup                 0::/pod/app              the group, by its path
    /proc/self/mountinfo              ... / /sys/fs/cgroup ... - cgroup2 ...    where groups are
    /sys/fs/cgroup/pod/app/cpu.max    150000 100000            quota and period, in version 2
    /sys/fs/cgroup/cpu/pod/app/cpu.cfs_quota_us   150000       in version 1, and cpu.cfs_period_us
"""

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


def cpu_quota(system: Path = Path("/")) -> float:
    """How many processors' worth of time this process may use; infinity if that is not limited.

    `system` is the folder that /proc and /sys are looked for in.
    """
    groups = _read(system / "proc/self/cgroup").splitlines()
    mounts = [_parse_mount(line) for line in _read(system / "proc/self/mountinfo").splitlines()]
    folders = (system / folder.relative_to("/") for folder in _folders(groups, mounts))
    return min((_quota_of(folder) for folder in folders), default=math.inf)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


class _Mount(NamedTuple):
    group: PurePosixPath  # which group is mounted there, with all in it
    point: PurePosixPath
    kind: str
    options: list[str]


def _parse_mount(line: str) -> _Mount:
    before, _, after = line.partition(" - ")
    group, point = (PurePosixPath(text.replace("\\040", " ")) for text in before.split()[3:5])
    kind, *_, options = after.split()
    return _Mount(group, point, kind, options.split(","))


def _folders(groups: list[str], mounts: list[_Mount]) -> Iterator[PurePosixPath]:
    """The folders of the groups that this process is in."""
    for line in groups:
        _, controllers, path = line.split(":", 2)
        for mount in mounts:
            is_version_1 = "cpu" in controllers.split(",") and "cpu" in mount.options
            if mount.kind == ("cgroup" if is_version_1 else "cgroup2") and (
                is_version_1 or not controllers
            ):
                yield from _outwards(PurePosixPath(path), mount)


def _outwards(group: PurePosixPath, mount: _Mount) -> Iterator[PurePosixPath]:
    """The folder of a group, and those around it up to the mount."""
    folder = mount.point
    # A container may be told the path that its host knows, and see nothing but its own group.
    if group.is_relative_to(mount.group) and ".." not in group.parts:
        folder /= group.relative_to(mount.group)
    while folder != mount.point:
        yield folder
        folder = folder.parent
    yield folder


def _quota_of(folder: Path) -> float:
    """The quota of one group; infinity where it has none."""
    words = _read(folder / "cpu.max").split() or [
        _read(folder / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    ]
    # No quota is "max" in version 2, -1 in version 1, and no file at all in an outermost group.
    if len(words) != 2 or not all(word.isdigit() for word in words):
        return math.inf
    quota, period = map(int, words)
    return quota / period if quota and period else math.inf
