"""What a run leaves for the next: a journal while it works, an index when it is done.

The journal is a file of JSON lines beside the output: first what the run was asked for, then from
time to time how far it has come. A run that is killed loses what came after the last line; the next
one cuts that off and goes on. While a run works it holds a lock on its journal.
"""

import errno
import fcntl
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from fastllm.corpus.atomic_write import replacing

FORMAT = "fastllm-token-ids"
VERSION = 1
CLUSTER_WORK = "cluster"  # the hidden folder of a run on many machines


class OutputPaths:
    """How the files of an output are called.

    Parameters
    ----------
    out : path
        A folder for shards, or one file of ids where its suffix is that of a format.
    suffixes : tuple of str
        The suffixes of files of ids.
    """

    def __init__(self, out: str | os.PathLike[str], suffixes: tuple[str, ...]) -> None:
        path = Path(out)
        self.out = path
        self.is_folder = path.is_dir() or path.suffix not in suffixes
        self.folder = path if self.is_folder else path.parent
        self.index = self.folder / ("index.json" if self.is_folder else f"{path.name}.index.json")
        name = "progress" if self.is_folder else f"{path.name}.progress"
        self.journal = self.folder / f".{name}.jsonl"

    def shard(self, split: str | None, number: int) -> Path:
        """What a shard is called, without a suffix."""
        if not self.is_folder:
            return self.out.with_suffix("")
        return self.folder / (f"{number:05d}" if split is None else f"{split}-{number:05d}")

    def work(self, name: str) -> Path:
        """A hidden folder for what is needed on the way."""
        return self.folder / (f".{name}" if self.is_folder else f".{self.out.name}.{name}")


class Journal:
    """The journal of a run, locked while it is open.

    Raises
    ------
    ValueError
        If another run works on the same output.
    """

    def __init__(self, path: Path, out: Path) -> None:
        self._path, self._out = path, out
        self._file = self._locked()
        lines = self._whole_lines()
        self.begun: dict[str, Any] | None = lines[0] if lines else None
        self.steps: list[dict[str, Any]] = lines[1:]

    def _locked(self) -> Any:
        while True:
            file = open(self._path, "a+b")  # noqa: SIM115 - held as long as the run lasts
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(file.fileno()), os.stat(self._path)):
                    return file
            except FileNotFoundError:  # another run has just ended, and taken its journal away
                pass
            except OSError as error:
                file.close()
                if error.errno in (errno.EAGAIN, errno.EACCES):
                    raise ValueError(f"{self._out} is being written by another run") from None
                raise
            file.close()

    def _whole_lines(self) -> list[dict[str, Any]]:
        """What has been written whole; the rest is cut off."""
        self._file.seek(0)
        lines, size = [], 0
        for line in self._file:
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
            if not line.endswith(b"\n"):
                lines.pop()
                break
            size += len(line)
        self._file.truncate(size)
        return lines

    def restart(self, header: dict[str, Any]) -> None:
        """Forget what there was and begin with what this run was asked for."""
        self._file.truncate(0)
        self.begun, self.steps = header, []
        self._write(header)

    def step(self, state: dict[str, Any]) -> None:
        """Say how far the run has come: all files are on the disk up to here."""
        self.steps.append(state)
        self._write(state)

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def remove(self) -> None:
        """The run is done."""
        with suppress(FileNotFoundError):
            self._path.unlink()

    def close(self) -> None:
        """Let go of the lock."""
        self._file.close()


def read_index(path: Path) -> dict[str, Any]:
    """The index of an output.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is no such index.
    """
    try:
        index = json.loads(path.read_text("utf-8"))
    except ValueError:
        index = None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise ValueError(f'{path} is not an index of token ids: no "format": "{FORMAT}"')
    if index.get("version") != VERSION:
        raise ValueError(
            f"{path} has version {index.get('version')!r} of the format; this reads {VERSION}"
        )
    return index


def write_index(path: Path, index: dict[str, Any]) -> None:
    """Write an index, whole or not at all."""
    with replacing(path) as file:
        json.dump(index, file, indent=1, ensure_ascii=False)
        file.write("\n")


def check_same_run(begun: dict[str, Any], asked: dict[str, Any], out: Path, done: bool) -> None:
    """Refuse to go on with an output that was begun with something else.

    Raises
    ------
    ValueError
        Naming what differs.
    """
    if begun.get("sources") != asked["sources"]:
        raise ValueError(
            f"{out} was {'made' if done else 'begun'} from other inputs: "
            f"{_first_difference(begun.get('sources') or [], asked['sources'])}; {_ADVICE}"
        )
    if not done and begun.get("cluster") != asked.get("cluster"):
        where = "on a cluster" if begun.get("cluster") else "on one machine"
        raise ValueError(f"{out} was begun {where}: go on there, or begin anew with resume=False")
    before, now = begun.get("settings", {}), asked["settings"]
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{out} was {'made' if done else 'begun'} with another {name}: "
                f"{before.get(name)!r}, now {now.get(name)!r}; {_ADVICE}"
            )


_ADVICE = "write elsewhere, or begin anew with resume=False"


def _first_difference(before: list[Any], now: list[Any]) -> str:
    for old, new in zip(before, now, strict=False):
        if old != new:
            return f"{old[0]} of {old[1]} bytes, now {new[0]} of {new[1]}"
    longer, word = (before, "gone") if len(before) > len(now) else (now, "new")
    return f"{longer[min(len(before), len(now))][0]} is {word}"
