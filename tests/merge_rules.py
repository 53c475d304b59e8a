"""What tests of training share: ids for merges, and minbpe's rule in a few lines."""

from collections import Counter, defaultdict
from itertools import pairwise

from fastllm.checks import tokenization as arguments
from fastllm.reference import bpe as reference

WHOLE = "(?s:.+)"  # a pattern that does not split


def ranks_of(merges, tie_break="lowest-ids"):
    order = arguments.byte_order(tie_break)
    tokens = [order[i : i + 1] for i in range(256)] + [left + right for left, right in merges]
    return {token: i for i, token in enumerate(tokens)}


def minbpe_merges(texts, wanted, pattern):
    """minbpe's rule in a few lines: count over all chunks, take max() of a dict, merge, repeat."""
    chunks = [list(p.encode()) for text in texts for p in reference.split(text, pattern)]
    tokens = {i: bytes([i]) for i in range(256)}
    merges = []
    for new in range(256, 256 + wanted):
        stats = {}
        for ids in chunks:
            for pair in pairwise(ids):
                stats[pair] = stats.get(pair, 0) + 1
        if not stats:
            break
        pair = max(stats, key=stats.get)
        chunks = [merged(ids, pair, new) for ids in chunks]
        tokens[new] = tokens[pair[0]] + tokens[pair[1]]
        merges.append((tokens[pair[0]], tokens[pair[1]]))
    return merges


def first_seen_merges(words, wanted):
    """The same rule on distinct words with their counts, in the order of first appearance.

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
            chunks[number] = merged(chunks[number], best, new)
            count(number, 1)
        del counts[best]
        tokens[new] = tokens[best[0]] + tokens[best[1]]
        merges.append((tokens[best[0]], tokens[best[1]]))
    return merges


def merged(ids, pair, new):
    """Tokens with a pair of them merged, from left to right."""
    out, i = [], 0
    while i < len(ids):
        if ids[i : i + 2] == list(pair):
            out.append(new)
            i += 2
        else:
            out.append(ids[i])
            i += 1
    return out
