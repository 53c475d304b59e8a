"""Counting the words of texts, on several threads where there is much to count.

The calling thread reads, others count, each in a table of its own; the tables are added up at the
end. What comes from whatever the caller iterates over stays in the caller's thread, and so does
Ctrl-C.
"""

import queue
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from fastllm.fast import _bpe, _train
from fastllm.tokenizers.text_sources import Block, Reading, read

Item = Block | list[str]

ALONE = 4  # blocks before threads are started
NUMBERS = 1 << 36  # places in a block: what comes first has the lower number
POLL = 0.1  # seconds between two looks at whether all is well


def count(texts: object, reading: Reading, ordered: bool, threads: int | None) -> _train.WordTable:
    """How often each word of `texts` occurs."""
    items = enumerate(read(texts, reading))
    table = _new_table(reading, ordered)
    for number, item in islice(items, ALONE if threads != 1 else None):
        _add(table, item, reading, number)
    first = next(items, None)
    if first is not None:
        _count_on_threads(table, _chain(first, items), reading, threads or min(_bpe.cores(), 8))
    return table


def _chain(first: tuple[int, Item], rest: Iterator[tuple[int, Item]]) -> Iterator[tuple[int, Item]]:
    yield first
    yield from rest


def _new_table(reading: Reading, ordered: bool) -> _train.WordTable:
    return _train.WordTable(reading.rules, ordered)


def _add(table: _train.WordTable, item: Item, reading: Reading, number: int) -> None:
    """Count one block, or some texts."""
    number *= NUMBERS
    if isinstance(item, Block):
        with item.view() as view:
            if _is_plain(view, reading) and table.add_block(view, number, reading.lines):
                return
        item = item.texts(reading)
    stretches = [stretch for text in item for stretch in reading.stretches(text)]
    rules = reading.rules
    if rules.normalization:
        stretches = [rules.normalize(stretch) for stretch in stretches]
    if rules.scanner is not None:
        table.add_texts(stretches, number)
        return
    for stretch in stretches:
        pieces = _bpe.split_by_expressions(stretch, rules.expressions)
        table.add_pieces(pieces, number)
        number += len(pieces)


def _is_plain(view: memoryview, reading: Reading) -> bool:
    """Whether bytes can be counted as they are: nothing to normalize, nothing to cut out."""
    rules = reading.rules
    if rules.scanner is None or (rules.normalization and not bytes(view).isascii()):
        return False
    return reading.find_special_bytes is None or not reading.find_special_bytes.search(view)


def _count_on_threads(
    table: _train.WordTable, items: Iterator[tuple[int, Item]], reading: Reading, threads: int
) -> None:
    waiting: queue.Queue[tuple[int, Item] | None] = queue.Queue(threads)
    failures: list[BaseException] = []

    def work(own: _train.WordTable) -> None:
        while (task := waiting.get()) is not None:
            try:
                if not failures:
                    _add(own, task[1], reading, task[0])
            except BaseException as error:  # whatever it was, the calling thread raises it
                failures.append(error)

    tables = [table, *(_new_table(reading, table.ordered) for _ in range(threads - 1))]
    workers = [threading.Thread(target=work, args=(own,), daemon=True) for own in tables]
    for worker in workers:
        worker.start()
    try:
        for number, item in items:
            _put(waiting, (number, _kept(item)), failures)
    except BaseException as error:
        failures.insert(0, error)
    for _ in workers:
        waiting.put(None)
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    for own in tables[1:]:
        table.add_table(own)


def _kept(item: Item) -> Item:
    """A block whose buffer is not used again."""
    if isinstance(item, list):
        return item
    with item.view() as view:
        return Block(bytearray(view), item.size, item.path, item.position)


def _put(
    waiting: "queue.Queue[Any]", task: tuple[int, Item], failures: list[BaseException]
) -> None:
    while not failures:
        try:
            return waiting.put(task, timeout=POLL)
        except queue.Full:
            continue


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
