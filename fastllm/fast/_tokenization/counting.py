"""Counting the words of texts, on several threads where there is much to count.

The calling thread reads, and counts what the others are too busy to take; each thread has a table
of its own, and they are added up at the end. What comes from whatever the caller iterates over
stays in the caller's thread, and so does Ctrl-C.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from itertools import chain, islice

from fastllm.corpus.sources import Block, Reading, read
from fastllm.fast._tokenization import _kernels

Item = Block | list[str]

ALONE = 4  # blocks before threads are started
NUMBERS = 1 << 36  # places in a block: what comes first has the lower number
POLL = 0.1  # seconds between two looks at what another thread does


def count(
    texts: object, reading: Reading, ordered: bool, threads: int | None
) -> _kernels.WordTable:
    """How often each word of `texts` occurs."""
    items = enumerate(read(texts, reading))
    table = _new_table(reading, ordered)
    threads = threads or min(_kernels.cores(), 8)
    for number, item in islice(items, ALONE if threads > 1 else None):
        _add(table, item, reading, number)
    if (first := next(items, None)) is not None:
        _count_on_threads(table, chain([first], items), reading, threads)
    return table


def _new_table(reading: Reading, ordered: bool) -> _kernels.WordTable:
    return _kernels.WordTable(reading.rules, ordered)


def _add(table: _kernels.WordTable, item: Item, reading: Reading, number: int) -> None:
    """Count one block, or some texts."""
    number *= NUMBERS
    if isinstance(item, Block):
        with item.view() as view:
            counted = _is_plain(view, reading) and table.add_block(view, number, reading.lines)
        if not counted:
            _add_texts(table, item.texts(reading), reading, number)
        item.release()
    else:
        _add_texts(table, item, reading, number)


def _add_texts(table: _kernels.WordTable, texts: list[str], reading: Reading, number: int) -> None:
    """Count documents, or parts of them, that still have to be cut and normalized."""
    stretches = [stretch for text in texts for stretch in reading.stretches(text)]
    rules = reading.rules
    if rules.normalization:
        stretches = [rules.normalize(stretch) for stretch in stretches]
    if rules.scanner is not None:
        table.add_texts(stretches, number)
        return
    for stretch in stretches:
        pieces = _kernels.split_by_expressions(stretch, rules.expressions)
        table.add_pieces(pieces, number)
        number += len(pieces)


def _is_plain(view: memoryview, reading: Reading) -> bool:
    """Whether bytes can be counted as they are: nothing to normalize, nothing to cut out."""
    rules = reading.rules
    if rules.scanner is None or (rules.normalization and not bytes(view).isascii()):
        return False
    return reading.find_special_bytes is None or not reading.find_special_bytes.search(view)


def _count_on_threads(
    table: _kernels.WordTable, items: Iterator[tuple[int, Item]], reading: Reading, threads: int
) -> None:
    waiting: queue.Queue[tuple[int, Item] | None] = queue.Queue(2 * (threads - 1))
    failures: list[BaseException] = []

    def work(own: _kernels.WordTable) -> None:
        while (task := waiting.get()) is not None:
            try:
                if not failures:
                    _add(own, task[1], reading, task[0])
            except BaseException as error:  # whatever it was, the calling thread raises it
                failures.append(error)

    tables = [_new_table(reading, table.ordered) for _ in range(threads - 1)]
    workers = [threading.Thread(target=work, args=(own,), daemon=True) for own in tables]
    for worker in workers:
        worker.start()
    try:
        for number, item in items:
            if failures:
                break
            try:
                waiting.put_nowait((number, item))
            except queue.Full:
                _add(table, item, reading, number)
    except BaseException as error:
        failures.insert(0, error)
    for _ in workers:
        waiting.put(None)
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    for own in tables:
        table.add_table(own)


def in_background(
    call: Callable[[], object],
    stop: Callable[[], object],
    watch: Callable[[], object] = lambda: None,
) -> None:
    """Run a long call in another thread, so that this one can be interrupted, and `watch`es.

    Whatever is raised here meanwhile stops the call, and is raised when it has ended.
    """
    failures: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(POLL)
            watch()
    except BaseException:
        stop()
        worker.join()
        raise
    if failures:
        raise failures[0]
