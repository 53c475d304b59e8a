"""Learning merges from counted words, in another thread where that takes long.

Ctrl-C comes to the calling thread, which must not be busy for minutes: it watches the other one,
tells the caller's progress callback, and stops it when something is raised.
"""

import threading
from collections.abc import Callable

from fastllm.api.encoder import Merge
from fastllm.api.tokenization import StartingVocabulary
from fastllm.checks import tokenization as checks
from fastllm.checks.tokenization import TrainingOptions
from fastllm.corpus.training_report import TrainingReport
from fastllm.corpus.word_counts import WordCounts
from fastllm.fast._tokenization import _kernels

MIN_WORDS_FOR_THREAD = 10_000  # fewer distinct words take less time than starting one does
POLL = 0.1  # seconds between two looks at what another thread does


def learn_merges(
    word_counts: WordCounts,
    start: StartingVocabulary,
    options: TrainingOptions,
    report: TrainingReport,
    keep_words: bool,
) -> tuple[list[Merge], list[bytes]]:
    """The merges, and the token that each makes; without `keep_words` the counts are used up."""
    table = table_of(word_counts)
    words = None if start.encode_word is None else map(start.encode_word, table.words())
    few = len(table) < MIN_WORDS_FOR_THREAD
    trainer = _kernels.Trainer(start, options)
    watch = _watching(trainer, options)
    with report.phase("count pairs"):
        if few:
            trainer.begin(table, keep_words, words)
        else:
            in_background(lambda: trainer.begin(table, keep_words, words), trainer.stop)
    with report.phase("learn merges"):
        if few:
            while trainer.made < options.num_merges and not trainer.finished:
                trainer.learn(256)
                watch()
        else:
            in_background(lambda: trainer.learn(options.num_merges), trainer.stop, watch)
            watch()
    facts = trainer.facts
    trainer.forget()  # as much again is needed for the tokens in Python
    report.pairs, report.tokens_before = facts["pairs"], facts["symbols"]
    report.counts, report.merged = trainer.counts()
    checks.warn_early_end(trainer.made, options.num_merges, options.min_frequency)
    return trainer.merges()


def table_of(word_counts: WordCounts) -> _kernels.WordTable:
    """The compiled table that the words were counted in, or a new one with the same counts."""
    if isinstance(word_counts.table, _kernels.WordTable):
        return word_counts.table
    table = _kernels.WordTable()
    for word, count in word_counts.items():
        table.add(word, count)
    return table


def _watching(trainer: _kernels.Trainer, options: TrainingOptions) -> Callable[[], None]:
    """What tells the progress callback of new tokens."""
    reported = 0

    def watch() -> None:
        nonlocal reported
        made = trainer.made
        if options.progress is not None and made > reported:
            reported = made
            options.progress(made, options.num_merges)

    return watch


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
