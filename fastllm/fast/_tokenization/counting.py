"""Counting the words of texts, on several threads where there is much to count.

The calling thread reads, and counts what the others are too busy to take; each thread has a table
of its own, and they are added up at the end. What comes from whatever the caller iterates over
stays in the caller's thread, and so does Ctrl-C.
"""

import queue
import threading
from collections.abc import Iterator
from itertools import chain, islice

from fastllm.api.threads import get_num_threads
from fastllm.corpus.sources import Block, ReadOptions, Texts, read
from fastllm.corpus.word_counts import WordCounts
from fastllm.fast._tokenization import _kernels
from fastllm.fast._tokenization.left_to_re import is_compiled

Item = Block | list[str]

ALONE = 4  # blocks before threads are started
NUMBERS = 1 << 36  # places in a block: what comes first has the lower number


def count_words(
    texts: Texts, options: ReadOptions, ordered: bool, threads: int | None
) -> WordCounts:
    """How often each pre-token of `texts` occurs; only if `ordered`, by first appearance."""
    is_compiled(options.pattern)  # it says if not
    items = enumerate(read(texts, options))
    table = _new_table(options, ordered)
    threads = threads or min(get_num_threads(), 8)
    for number, item in islice(items, ALONE if threads > 1 else None):
        _add(table, item, options, number)
    if (first := next(items, None)) is not None:
        _count_on_threads(table, chain([first], items), options, threads)
    return WordCounts.of_table(table, options.pattern, options.special_tokens)


def _new_table(options: ReadOptions, ordered: bool) -> _kernels.WordTable:
    return _kernels.WordTable(options.pattern, ordered)


def _add(table: _kernels.WordTable, item: Item, options: ReadOptions, number: int) -> None:
    """Count one block, or some texts."""
    number *= NUMBERS
    if isinstance(item, Block):
        with item.view() as view:
            counted = _is_plain(view, options) and table.add_block(view, number, options.lines)
        if not counted:
            _add_texts(table, item.texts(options), options, number)
        item.release()
    else:
        _add_texts(table, item, options, number)


def _add_texts(
    table: _kernels.WordTable, texts: list[str], options: ReadOptions, number: int
) -> None:
    """Count documents, or parts of them, that still have to be cut and normalized."""
    parts = [part for text in texts for part in options.parts_between_special_tokens(text)]
    pattern = options.pattern
    if pattern.normalization:
        parts = [pattern.normalize(part) for part in parts]
    if pattern.engine != "re":
        table.add_texts(parts, number)
        return
    for part in parts:
        pretokens = _kernels.split_by_expressions(part, pattern)
        table.add_words(pretokens, number)
        number += len(pretokens)


def _is_plain(view: memoryview, options: ReadOptions) -> bool:
    """Whether bytes can be counted as they are: nothing to normalize, nothing to cut out."""
    pattern = options.pattern
    if pattern.engine == "re" or (pattern.normalization and not bytes(view).isascii()):
        return False
    return options.find_special_bytes is None or not options.find_special_bytes.search(view)


def _count_on_threads(
    table: _kernels.WordTable, items: Iterator[tuple[int, Item]], options: ReadOptions, threads: int
) -> None:
    waiting: queue.Queue[tuple[int, Item] | None] = queue.Queue(2 * (threads - 1))
    failures: list[BaseException] = []

    def work(own: _kernels.WordTable) -> None:
        while (task := waiting.get()) is not None:
            try:
                if not failures:
                    _add(own, task[1], options, task[0])
            except BaseException as error:  # whatever it was, the calling thread raises it
                failures.append(error)

    tables = [_new_table(options, table.ordered) for _ in range(threads - 1)]
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
                _add(table, item, options, number)
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
