"""What tests of training share: ids for merges, and minbpe's rule in a few lines."""

from itertools import pairwise

from fastllm import _bpe_arguments as arguments
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
        for i, ids in enumerate(chunks):
            merged, j = [], 0
            while j < len(ids):
                if ids[j : j + 2] == list(pair):
                    merged.append(new)
                    j += 2
                else:
                    merged.append(ids[j])
                    j += 1
            chunks[i] = merged
        tokens[new] = tokens[pair[0]] + tokens[pair[1]]
        merges.append((tokens[pair[0]], tokens[pair[1]]))
    return merges
