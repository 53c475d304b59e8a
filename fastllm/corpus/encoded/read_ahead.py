"""Reading ahead: threads read and prepare batches while others encode, and the order stays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Full, Queue

from fastllm.corpus.encoded.documents import Batch, DocumentOptions, read_batches
from fastllm.corpus.encoded.inputs import Source

UNIT_BYTES = 1 << 24  # of files that one thread reads one after the other
UNIT_FILES = 256
BATCHES_AHEAD = 2  # that each thread may have ready
SECONDS_TO_WAIT = 0.1  # for room, before looking whether anybody still wants what has been read

Unit = list[tuple[int, Source]]
Item = Batch | BaseException | None


@contextmanager
def reading_ahead(
    sources: Sequence[Source],
    start: tuple[int, int],
    options: DocumentOptions,
    workers: int,
    prepare: Callable[[Batch], object],
) -> Iterator[Iterator[Batch]]:
    """The batches of all sources in order, each prepared, read by `workers` threads.

    Each thread takes some files that follow one another. At most `BATCHES_AHEAD` batches of each
    thread wait, so that memory does not depend on the corpus.

    Parameters
    ----------
    sources : sequence of Source
    start : (int, int)
        The source to begin with, and how many of its documents to leave out.
    options : DocumentOptions
    workers : int
    prepare : callable
        Called with each batch, by the thread that has read it.
    """
    pool = _Pool(sources, start, options, prepare)
    threads = [threading.Thread(target=pool.work, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        yield pool.batches(workers)
    finally:
        pool.stopped.set()
        for thread in threads:
            thread.join(1)  # one that waits for a pipe is left to it


class _Pool:
    def __init__(
        self,
        sources: Sequence[Source],
        start: tuple[int, int],
        options: DocumentOptions,
        prepare: Callable[[Batch], object],
    ) -> None:
        self._options, self._prepare = options, prepare
        self._skip = start[1]
        self._units = _units(sources, start[0])
        self._turn = threading.Lock()
        self._begun: Queue[Queue[Item] | None] = Queue()
        self.stopped = threading.Event()

    def batches(self, workers: int) -> Iterator[Batch]:
        """What the threads read, in order."""
        ended = 0
        while ended < workers:
            queue = self._begun.get()
            if queue is None:
                ended += 1
                continue
            while (item := queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item

    def work(self) -> None:
        """Read one unit after the other."""
        while True:
            with self._turn:
                unit = next(self._units, None)
                queue: Queue[Item] | None = Queue(BATCHES_AHEAD) if unit else None
                self._begun.put(queue)
                skip, self._skip = self._skip, 0
            if unit is None or queue is None:
                return
            try:
                for batch in read_batches(unit, self._options, skip):
                    self._prepare(batch)
                    if not self._put(queue, batch):
                        return
                self._put(queue, None)
            except BaseException as error:
                self._put(queue, error)

    def _put(self, queue: Queue[Item], item: Item) -> bool:
        """Hand an item on; False if nobody wants it any more."""
        while not self.stopped.is_set():
            try:
                queue.put(item, timeout=SECONDS_TO_WAIT)
                return True
            except Full:
                continue
        return False


def _units(sources: Sequence[Source], first: int) -> Iterator[Unit]:
    """Sources that follow one another, so many that reading them is worth a turn."""
    unit: Unit = []
    size = 0
    for number in range(first, len(sources)):
        unit.append((number, sources[number]))
        size += sources[number].size
        if size >= UNIT_BYTES or len(unit) >= UNIT_FILES:
            yield unit
            unit, size = [], 0
    if unit:
        yield unit
