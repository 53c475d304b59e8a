"""What tests of training share: ids for merges, and the first-seen rule for larger texts."""

from collections import Counter, defaultdict
from itertools import pairwise

from fastllm.corpus.byte_order import byte_order
from fastllm.reference import bpe

WHOLE = "(?s:.+)"  # a pattern that does not split


def ranks_of(merges, tie_break="lowest-ids"):
    order = byte_order(tie_break)
    tokens = [order[i : i + 1] for i in range(256)] + [left + right for left, right in merges]
    return {token: i for i, token in enumerate(tokens)}


def first_seen_merges(words, wanted):
    """`bpe.learn_merges`, first seen, faster: words with their counts, by first appearance.

    A pair that occurs in a text occurs there first in the first occurrence of a word: later ones
    change its count, not its place. So only words that hold the merged pair are counted again.
    """
    chunks = [list(word) for word in words]
    weights = list(words.values())
    counts, found_in = Counter(), defaultdict(set)
    tokens = {i: bytes([i]) for i in range(256)}

    def count(number, sign):
        for pair in pairwise(chunks[number]):
            counts[pair] += sign * weights[number]
            found_in[pair].add(number)  # or was, once

    def first_place(pair):
        for number in sorted(found_in[pair]):
            pairs = list(pairwise(chunks[number]))
            if pair in pairs:
                return number, pairs.index(pair)
        raise AssertionError(pair)

    for number in range(len(chunks)):
        count(number, 1)
    merges = []
    for new in range(256, 256 + wanted):
        most = max(counts.values(), default=0)
        if not most:
            break
        best = min((p for p, times in counts.items() if times == most), key=first_place)
        for number in found_in.pop(best):
            count(number, -1)
            chunks[number] = bpe.merge(chunks[number], best, new)
            count(number, 1)
        del counts[best]
        tokens[new] = tokens[best[0]] + tokens[best[1]]
        merges.append((tokens[best[0]], tokens[best[1]]))
    return merges
