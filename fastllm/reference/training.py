"""Training, the textbook: from texts to word counts to merges, with the options of a library.

Pairs are counted inside words only, so all that training needs to know of a text is how often each
word occurs: `count_words`. Then `learn_more_merges` is the loop of the chapter `bpe`, with limits:
no pair that occurs less often than ``min_frequency``, and no token longer than ``max_token_bytes``.

`fastllm.train` is these two: it starts from the 256 bytes and ends when there are `vocab_size`
tokens. `fastllm.extend` is the same from a vocabulary that exists. What learning starts from is a
`StartingVocabulary`: its tokens by number, and what a word is made of, bytes or tokens. A merge
whose result is a token already is not made (``extend``), or is made with the id that is there; then
it is no new token.

On paper. "to be or not to be" holds the words "to", " be" (twice), " or", " not" and " to". The
pairs (" ", "b") and ("b", "e") occur twice; so do ("t", "o") and no others. The lowest ids win:
" " is byte 32, "b" is 98, so (" ", "b") is the first merge.
"""

from collections.abc import Mapping

from fastllm.api.tokenization import StartingVocabulary
from fastllm.checks import tokenization as checks
from fastllm.checks.tokenization import TrainingOptions
from fastllm.corpus.sources import ReadOptions, Texts, documents
from fastllm.corpus.training_report import TrainingReport
from fastllm.corpus.word_counts import WordCounts
from fastllm.reference.bpe import Ids, Merge, Pair, best_pair, count_pairs, merge
from fastllm.reference.splitting import split


def count_words(
    texts: Texts, options: ReadOptions, ordered: bool = True, threads: int | None = None
) -> WordCounts:
    """How often each pre-token of some texts occurs, in the order of first appearance.

    `ordered` and `threads` are for the fast engine: a dict keeps its order, and one thread counts.

    >>> dict(count_words("to be or not to be", ReadOptions()))
    {b'to': 1, b' be': 2, b' or': 1, b' not': 1, b' to': 1}
    """
    counts: dict[bytes, int] = {}
    for text in documents(texts, options):
        for pretoken in split(options.pattern.normalize(text), options.pattern):
            word = pretoken.encode()
            counts[word] = counts.get(word, 0) + 1
    return WordCounts(counts, pattern=options.pattern, special_tokens=options.special_tokens)


def learn_more_merges(
    word_counts: WordCounts,
    start: StartingVocabulary,
    options: TrainingOptions,
    report: TrainingReport,
    keep_words: bool = True,
) -> tuple[list[Merge], list[bytes]]:
    """Count pairs, take the best that is allowed, merge it, repeat.

    Gives the merges, and the token that each makes. `keep_words` is for the fast engine.
    """
    tokens = list(start.tokens)
    words = starting_words(word_counts, start)
    report.tokens_before = count_tokens(words)
    merges: list[Merge] = []
    made: list[bytes] = []
    with report.phase("learn merges"):
        while len(tokens) < len(start.tokens) + options.num_merges:
            counts = allowed_pairs(count_pairs(words), tokens, start, options)
            if not counts:
                break
            pair = best_pair(counts, options.tie_break)
            left, right = tokens[pair[0]], tokens[pair[1]]
            new_id = start.existing_ids.get(left + right, len(tokens))
            if new_id == len(tokens):
                tokens.append(left + right)
            words_before = words
            words = [(merge(ids, pair, new_id), count) for ids, count in words]
            merges.append((left, right))
            made.append(left + right)
            note_merge(report, counts, pair, count_tokens(words_before) - count_tokens(words))
            if options.progress is not None:
                options.progress(len(tokens) - len(start.tokens), options.num_merges)
    made_tokens = len(tokens) - len(start.tokens)
    checks.warn_early_end(made_tokens, options.num_merges, options.min_frequency)
    return merges, made


def starting_words(
    word_counts: Mapping[bytes, int], start: StartingVocabulary
) -> list[tuple[Ids, int]]:
    """Each word as the tokens that learning begins with, and how often it occurs."""
    if start.encode_word is not None:
        return [(start.encode_word(word), count) for word, count in word_counts.items()]
    id_of = {start.tokens[i][0]: i for i in range(start.first_byte, start.first_byte + 256)}
    return [([id_of[byte] for byte in word], count) for word, count in word_counts.items()]


def allowed_pairs(
    counts: Mapping[Pair, int],
    tokens: list[bytes],
    start: StartingVocabulary,
    options: TrainingOptions,
) -> dict[Pair, int]:
    """The pairs that occur often enough, and make a token that is short enough and may be made."""
    allowed = {}
    for pair, count in counts.items():
        token = tokens[pair[0]] + tokens[pair[1]]
        if count < options.min_frequency or len(token) > options.max_token_bytes:
            continue
        if start.skip_existing and token in start.existing_ids:
            continue
        allowed[pair] = count
    return allowed


def note_merge(report: TrainingReport, counts: Mapping[Pair, int], pair: Pair, merged: int) -> None:
    """Write a merge into the report: pairs there were, how often this one occurred and was made."""
    report.pairs = max(report.pairs, len(counts))
    report.counts.append(counts[pair])
    report.merged.append(merged)


def count_tokens(words: list[tuple[Ids, int]]) -> int:
    """How many tokens the text has.

    >>> count_tokens([([1, 1], 2), ([3], 4)])
    8
    """
    return sum(count * len(ids) for ids, count in words)
