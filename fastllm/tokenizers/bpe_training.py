"""Learning: what `BPETokenizer.train` and `extend` make a tokenizer of."""

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from fastllm.checks import tokenization as arguments
from fastllm.corpus.byte_order import byte_order
from fastllm.corpus.sources import ReadOptions, Texts
from fastllm.corpus.sources import documents as documents_of
from fastllm.corpus.training_report import TrainingReport
from fastllm.corpus.word_counts import WordCounts
from fastllm.patterns.named import SplitPattern, split_pattern
from fastllm.tokenizers.bpe_vocabulary import BPEVocabulary, Merge
from fastllm.tokenizers.prefix_space import with_prefix_space


class TrainedSettings(NamedTuple):
    """What a trained tokenizer is made of: its arguments, and what is known about its training.

    `merges` are those that follow from the ranks; None if they are listed among the settings.
    """

    settings: dict[str, Any]
    merges: list[Merge] | None
    report: TrainingReport


def train(
    engine: Any,
    texts: Any,
    vocab_size: int | None,
    *,
    pattern: str | SplitPattern | None = None,
    special_tokens: Sequence[str] | Mapping[str, int] = (),
    tie_break: str = "lowest-ids",
    min_frequency: int = 1,
    max_token_bytes: int | None = None,
    threads: int | None = None,
    progress: Callable[[int, int], object] | None = None,
    word_counts: WordCounts | None = None,
    count_progress: Callable[[int, int], object] | None = None,
    **reading: Any,
) -> TrainedSettings:
    """The settings of a tokenizer, as `BPETokenizer.train` says; `reading` is how files are read.

    To the merges that `engine.FUNCTIONS.learn` gives, this adds the ids: of bytes, of merges and of
    special tokens.
    """
    chosen = _pattern_of(pattern, word_counts)
    specials = arguments.check_special_tokens(special_tokens)
    given = special_tokens if isinstance(special_tokens, Mapping) else None
    arguments.check_vocab_size(vocab_size)
    size = arguments.check_integer(vocab_size, "vocab_size", 0)
    first = _first_id(specials, given, tie_break, size)
    merges, made, report = engine.FUNCTIONS.learn(
        texts,
        size,
        chosen,
        word_counts,
        reading | {"progress": count_progress},
        special_tokens=specials,
        tie_break=tie_break,
        min_frequency=min_frequency,
        max_token_bytes=max_token_bytes,
        threads=threads,
        progress=progress,
    )
    order = byte_order(tie_break)
    tokens = [*(order[i : i + 1] for i in range(256)), *made]
    listed = None
    if tie_break == "huggingface" and (named := {s.encode() for s in specials} & {*tokens}):
        # A merge made the bytes of a special token: it has that id, and so is no rank.
        tokens = [token for token in tokens if token not in named]
        listed = merges
    ranks = arguments.CheckedVocabulary(zip(tokens, range(first, first + len(tokens)), strict=True))
    after = 0 if first else len(tokens)
    ids = given or {token: number for number, token in enumerate(specials, after)}
    if listed is not None:
        ranks |= {
            token.encode(): number for token, number in ids.items() if token.encode() in named
        }
    settings = {"ranks": ranks, "pattern": chosen, "special_tokens": ids, "merges": listed}
    return TrainedSettings(settings, merges if listed is None else None, report)


def extend(
    vocabulary: BPEVocabulary,
    texts: Texts | None,
    vocab_size: int | None,
    *,
    tie_break: str,
    min_frequency: int,
    max_token_bytes: int | None,
    threads: int | None,
    progress: Callable[[int, int], object] | None,
    word_counts: WordCounts | None,
    documents: str,
    field: str | None,
    errors: str,
    add_prefix_space: bool,
) -> TrainedSettings:
    """The settings with more tokens, as `BPETokenizer.extend` says.

    To the merges that `FUNCTIONS.learn_more` gives, this adds the ids, behind all there are.
    """
    _pattern_of(vocabulary.pattern, word_counts)
    ids = {*vocabulary.id_of.values(), *vocabulary.ranks.values()}
    reading: dict[str, Any] = {"documents": documents, "field": field, "errors": errors}
    if add_prefix_space and texts is not None:
        options = ReadOptions(vocabulary.pattern, tuple(vocabulary.id_of), **reading)
        options.uncut = True  # only where a document begins, a blank is put before it
        texts, reading = map(with_prefix_space, documents_of(texts, options)), {}
    new, _, report = vocabulary.engine.FUNCTIONS.learn_more(
        texts,
        vocab_size,
        vocabulary.ranks,
        vocabulary.encoder,
        vocabulary.pattern,
        word_counts,
        reading,
        special_tokens=[
            token for token in vocabulary.id_of if token.encode() not in vocabulary.ranks
        ],
        tie_break=tie_break,
        min_frequency=min_frequency,
        max_token_bytes=max_token_bytes,
        threads=threads,
        progress=progress,
    )
    settings = vocabulary.settings()
    tokens = (left + right for left, right in new)
    settings["ranks"] = vocabulary.ranks | dict(zip(tokens, count(max(ids, default=-1) + 1)))
    if vocabulary.listed_merges is not None:
        settings["merges"] = [*vocabulary.listed_merges, *new]
    return TrainedSettings(settings, None, report)


def _pattern_of(pattern: str | SplitPattern | None, word_counts: object) -> SplitPattern:
    """The split pattern asked for, or that of counted words; an error if these differ."""
    if not isinstance(word_counts, WordCounts):
        return split_pattern("gpt2" if pattern is None else pattern)
    counted = word_counts.split_pattern
    if pattern is None:
        return counted
    asked = split_pattern(pattern)
    if asked != counted:
        raise ValueError(f"word_counts were cut by pattern {counted}, not by {asked}")
    return counted


def _first_id(
    specials: Sequence[str], given: Mapping[str, int] | None, tie_break: str, size: int
) -> int:
    """The id of the first byte: 0, or behind the special tokens in Hugging Face's order.

    Raises
    ------
    ValueError
        If an id given to a special token is one that a byte or a merge will get.
    """
    if tie_break == "huggingface" and (
        given is None or sorted(given.values()) == list(range(len(given)))
    ):
        return len(specials)
    for token, number in (given or {}).items():
        if arguments.check_id(number, f"the id of {token!r}") < size - len(specials):
            raise ValueError(
                f"the id of {token!r}, {number}, is taken: bytes and merges get the ids from 0 to "
                f"{size - len(specials) - 1}"
            )
    return 0
