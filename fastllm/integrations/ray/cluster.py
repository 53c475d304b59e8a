"""A Ray cluster: reaching it, asking its nodes what they have, running tasks in order.

Tasks are pure: what one gives, or writes, follows from its arguments. So Ray may run one twice,
at the same time even, and what comes of it is the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import fastllm
from fastllm.corpus.atomic_write import replacing
from fastllm.corpus.encoded.inputs import Source, SourceRange

TRIES = 8  # of a task whose node or worker is lost, or whose files cannot be reached
SECONDS_TO_ANSWER = 10.0
AHEAD = 10_000  # tasks that Ray knows of at a time
SHARED = "all nodes need the same files under the same names, on shared storage"


def required_ray() -> Any:
    """The library.

    Raises
    ------
    ImportError
        If it is not installed; the message names the extra.
    """
    try:
        import ray
    except ImportError:
        raise ImportError("a cluster needs Ray: pip install 'fastllm-kernels[ray]'") from None
    return ray


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, with a cluster: the one the program has, or that of `address`, or one made for now.

    Raises
    ------
    ConnectionError
        If there is no cluster at `address`.
    ValueError
        If nodes have another fastllm.
    """
    ray = required_ray()
    started = not ray.is_initialized()
    # What a task raises is raised here; Ray would tell it of each result that nobody asked for.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # or it warns of the future
    if started:
        try:  # messages of lost nodes would come between the lines of a command
            _check_answers(address)
            ray.init(address, logging_level="ERROR", log_to_driver=False)
        except (OSError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConnectionError(f"no Ray cluster at {address}: {reason}") from None
    try:
        check_nodes(ray)
        yield ray
    finally:
        if started:
            ray.shutdown()


def _check_answers(address: str | None) -> None:
    """Refuse an address where nobody answers, for which Ray would wait for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


# What nodes have


@cache
def build() -> str:
    """Which fastllm this is: the version, and a hash of its sources."""
    folder = Path(fastllm.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return f"{fastllm.__version__} ({digest.hexdigest()[:8]})"


def check_nodes(ray: Any) -> None:
    """Refuse nodes that have another fastllm, or none."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def ask() -> str:  # not imported by its name there, as it must run where fastllm is missing
        try:
            from fastllm.integrations.ray.cluster import build
        except ImportError as error:
            return f"none ({error})"
        return build()

    remote = ray.remote(num_cpus=0)(ask)
    answers = {
        node["NodeManagerAddress"]: remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU")  # others get no task
    }
    for name, answer in answers.items():
        try:
            found = ray.get(answer)
        except ray.exceptions.RayError:
            continue  # it has just been lost
        if found != build():
            raise ValueError(_another_build(name, found))


def _another_build(node: str, found: str) -> str:
    return (
        f"node {node} has fastllm {found}, this machine {build()}: the same must be installed on "
        "all nodes"
    )


class Here(NamedTuple):
    """What the machine has that asks for tasks; others must have the same."""

    build: str
    folder: str  # relative paths begin here

    @classmethod
    def of_driver(cls) -> Here:
        """This machine."""
        return cls(build(), os.getcwd())


@contextmanager
def as_on(here: Here) -> Iterator[None]:
    """Work on a node as on the machine that asked for it.

    Raises
    ------
    ValueError
        If this node has another fastllm.
    """
    if here.build != build():  # a node that has joined since
        raise ValueError(
            f"node {socket.gethostname()} has fastllm {build()}, the driver {here.build}: the same "
            "must be installed on all nodes"
        )
    # Where there is no such folder, files are named in full, or missing.
    exists = os.path.isdir(here.folder)
    with contextlib.chdir(here.folder) if exists else contextlib.nullcontext():
        yield


def check_seen(sources: Iterable[Source]) -> None:
    """Refuse to read files that are not those that the driver sees."""
    for source in sources:
        path, size = source
        if "://" in path:
            continue
        try:
            found = os.stat(path).st_size
        except FileNotFoundError:
            raise ValueError(f"node {socket.gethostname()} does not see {path}: {SHARED}") from None
        if isinstance(source, SourceRange):
            size = max(size + source.start, found)
        if found != size:
            raise ValueError(
                f"node {socket.gethostname()} sees {path} with {found} bytes, the driver with "
                f"{size}: {SHARED}"
            )


# Tasks


class Tasks:
    """Runs functions of this package as tasks of Ray, each on one core."""

    def __init__(self, ray: Any, here: Here) -> None:
        self.ray, self._here = ray, here
        how = {"num_cpus": 1, "max_retries": TRIES, "retry_exceptions": [OSError]}
        self._remote = ray.remote(**how)(_run)

    def submit(self, function: Callable[..., Any], *args: Any, returns: int = 1) -> Any:
        """Begin a task; gives a reference to its result, or one to each of several."""
        name = f"fastllm {function.__name__.strip('_')}"
        remote = self._remote.options(name=name, num_returns=returns)
        return remote.remote(self._here, function, *args)

    def result(self, reference: Any) -> Any:
        """The result of a task; what the task raised is raised here as it was.

        Raises
        ------
        OSError
            If Ray gave the task up.
        """
        errors = self.ray.exceptions
        try:
            return self.ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            reason = " ".join(str(error).split("\n")[0].split())
            raise OSError(f"Ray gave up a task after {TRIES} tries: {reason}") from None

    def in_order(
        self, function: Callable[..., Any], calls: Iterable[tuple[Any, ...]]
    ) -> Iterator[Any]:
        """The results of many calls, in their order."""
        pending: deque[Any] = deque()
        try:
            for args in calls:
                pending.append(self.submit(function, *args))
                if len(pending) >= AHEAD:
                    yield self.result(pending.popleft())
            while pending:
                yield self.result(pending.popleft())
        finally:
            for reference in pending:
                self.ray.cancel(reference)


def _run(here: Here, function: Callable[..., Any], *args: Any) -> Any:
    with as_on(here):
        return function(*args)


_held: dict[str, Any] = {}  # the last tokenizer of this worker, by its fingerprint


class HeldTokenizer(NamedTuple):
    """A tokenizer that each worker fetches once."""

    fingerprint: str
    reference: tuple[Any]  # in a tuple, or Ray would fetch it for each task

    @classmethod
    def of(cls, ray: Any, tokenizer: Any) -> HeldTokenizer:
        """Put a tokenizer where workers find it."""
        return cls(tokenizer.fingerprint, (ray.put(tokenizer),))

    def get(self) -> Any:
        """The tokenizer, on a worker."""
        if self.fingerprint not in _held:
            import ray

            _held.clear()
            _held[self.fingerprint] = ray.get(self.reference[0])
        return _held[self.fingerprint]


# Work that leaves files


def once(mark: Path, work: Callable[[Path], tuple[dict[str, Any], dict[str, Path]]]) -> Any:
    """Do what leaves files, unless it has been done; gives what is known of it.

    Two that do the same at the same time do not meet: each works in a folder of its own, whose
    files are renamed when all are whole. The mark comes last.

    Parameters
    ----------
    mark : path
        A file that says that it has been done, and what is known of it.
    work : callable
        From a new folder to what is known, and for each file in the folder where it belongs.
    """
    with contextlib.suppress(FileNotFoundError):
        return json.loads(mark.read_bytes())
    if not mark.parent.is_dir():
        raise ValueError(f"node {socket.gethostname()} does not see {mark.parent}: {SHARED}")
    folder = mark.parent / f"try-{uuid4().hex}"
    folder.mkdir()
    try:
        known, files = work(folder)
        for name, target in files.items():
            (folder / name).replace(target)
        with replacing(mark) as file:
            json.dump(known, file)
            file.flush()
            os.fsync(file.fileno())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return known
