"""Byte-pair encoding, the textbook: learn merges, apply them, undo them.

Read it in order. To learn, start from bytes and repeat: `count_pairs` of neighbours, take the
`best_pair`, `merge` it everywhere into a new token. `learn_merges` is this loop, and
`vocabulary_of` numbers the tokens. To encode a new word, merge its bytes again, the pair with the
lowest rank first: `merge_by_rank`, `encode_word`. To decode, look up the bytes of each id and join
them: `decode_ids`.

On paper. The text "aaabdaaabac" is one word. The pair (a, a) occurs four times (overlaps count:
"aaa" holds two), more often than any other, and becomes the token "aa":

    aa a b d aa a b a c

Now (aa, a) and (a, b) occur twice each. Which of them is merged is a matter of the rule for ties.
The default is the lowest ids: "a" has a lower id than the new token, so (a, b) is merged, and then
(aa, ab):

    aa ab d aa ab a c
    aaab d aaab a c

The other rule is "first seen": (aa, a) stands before (a, b). It is merged, and then (aaa, b), which
here comes to the same text.

Bytes have the ids 0 to 255, and the three merges make 256, 257 and 258. So the ids of the text are
258 100 258 97 99. Any other text can be encoded as well: bytes that nothing merges stay as they
are.

These are the plain rules, in the fewest lines. What a library adds is in the chapters `training`
and `encoder`. Speed changes nothing. Options do: with ranks, a word that is itself a token becomes
that token (see `encoder`).

The idea is from Gage, "A New Algorithm for Data Compression" (1994); merging inside words from
Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units" (2016);
bytes instead of characters from Radford et al., "Language Models are Unsupervised Multitask
Learners" (GPT-2, 2019).
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise

Ids = list[int]
Pair = tuple[int, int]
Merge = tuple[bytes, bytes]


# Learning


def count_pairs(words: Iterable[tuple[Ids, int]]) -> dict[Pair, int]:
    """How often each pair of neighbours occurs, in the order of first appearance.

    A word is its ids, and how often it occurs. The first one here holds (1, 1) twice, and occurs
    twice; that the two overlap does not matter:

    >>> count_pairs([([1, 1, 1], 2), ([1, 3], 1)])
    {(1, 1): 4, (1, 3): 1}
    """
    counts: dict[Pair, int] = {}
    for ids, count in words:
        for pair in pairwise(ids):
            counts[pair] = counts.get(pair, 0) + count
    return counts


def best_pair(counts: Mapping[Pair, int], tie_break: str = "lowest-ids") -> Pair:
    """The most frequent pair; a tie goes to the lowest ids, or to the pair that was seen first.

    The rule "huggingface" is the lowest ids too, with the bytes numbered in another order.

    >>> best_pair({(5, 6): 2, (1, 9): 2, (1, 2): 1})
    (1, 9)
    >>> best_pair({(5, 6): 2, (1, 9): 2, (1, 2): 1}, "first-seen")
    (5, 6)
    """
    if tie_break == "first-seen":
        return max(counts, key=counts.__getitem__)  # the first of several: dicts keep their order
    return min(counts, key=lambda pair: (-counts[pair], pair))


def merge(ids: Ids, pair: Pair, new_id: int) -> Ids:
    """The ids with each occurrence of a pair replaced, from left to right.

    >>> merge([7, 7, 7, 1], (7, 7), 9)
    [9, 7, 1]
    """
    left, right = pair
    merged: Ids = []
    i = 0
    while i < len(ids):
        if i + 1 < len(ids) and ids[i] == left and ids[i + 1] == right:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


def learn_merges(
    word_counts: Iterable[tuple[bytes, int]], num_merges: int, tie_break: str = "lowest-ids"
) -> list[Merge]:
    """Count pairs, take the best, merge it, repeat; the words come with how often each occurs.

    >>> learn_merges([(b"aaabdaaabac", 1)], 3, "first-seen")
    [(b'a', b'a'), (b'aa', b'a'), (b'aaa', b'b')]
    >>> learn_merges([(b"aaabdaaabac", 1)], 3, "lowest-ids")
    [(b'a', b'a'), (b'a', b'b'), (b'aa', b'ab')]
    """
    tokens = [bytes([byte]) for byte in range(256)]
    words = [(list(word), count) for word, count in word_counts]
    merges: list[Merge] = []
    while len(merges) < num_merges and (counts := count_pairs(words)):
        pair = best_pair(counts, tie_break)
        new_id = len(tokens)
        words = [(merge(ids, pair, new_id), count) for ids, count in words]
        left, right = tokens[pair[0]], tokens[pair[1]]
        tokens.append(left + right)
        merges.append((left, right))
    return merges


def vocabulary_of(merges: Iterable[Merge]) -> dict[bytes, int]:
    """The id of each token: the bytes have 0 to 255, and merge number i makes 256 + i.

    >>> vocabulary = vocabulary_of([(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")])
    >>> vocabulary[b"a"], vocabulary[b"aaab"]
    (97, 258)
    """
    tokens = [bytes([byte]) for byte in range(256)] + [left + right for left, right in merges]
    return {token: number for number, token in enumerate(tokens)}


# Encoding and decoding


def merge_by_rank(word: bytes, rank: Callable[[bytes, bytes], int | None]) -> list[bytes]:
    """The tokens of a word: while some pair has a rank, merge the lowest, the leftmost on a tie.

    "abc" holds "ab" and "bc", and only one of them can be merged. It is the one that was learned
    first:

    >>> ranks = {(b"b", b"c"): 0, (b"a", b"b"): 1}
    >>> merge_by_rank(b"abc", lambda left, right: ranks.get((left, right)))
    [b'a', b'bc']
    """
    parts = [word[i : i + 1] for i in range(len(word))]
    while True:
        ranks = [rank(left, right) for left, right in pairwise(parts)]
        lowest = min((r for r in ranks if r is not None), default=None)
        if lowest is None:
            return parts
        i = ranks.index(lowest)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


def encode_word(word: bytes, vocabulary: Mapping[bytes, int]) -> Ids:
    """The ids of a word, where ids are ranks: tokens that were learned earlier have lower ids.

    >>> vocabulary = vocabulary_of([(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")])
    >>> encode_word(b"aaabdaaabac", vocabulary)
    [258, 100, 258, 97, 99]
    """
    tokens = merge_by_rank(word, lambda left, right: vocabulary.get(left + right))
    return [vocabulary[token] for token in tokens]


def decode_ids(ids: Iterable[int], vocabulary: Mapping[bytes, int]) -> bytes:
    """The bytes that ids stand for.

    >>> decode_ids([258, 100], vocabulary_of([(b"a", b"a"), (b"a", b"b"), (b"aa", b"ab")]))
    b'aaabd'
    """
    token_of = {number: token for token, number in vocabulary.items()}
    return b"".join(token_of[number] for number in ids)
