# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
# distutils: language = c++
"""Encoding and decoding: tables made once per vocabulary, a word cache per worker.

Algorithm. Tokens are numbered by rank (the order of their ids), so a rank *is* a token here. A pair table says
which two tokens merge, at which priority and into what: every split of every token whose halves are tokens
(ranks), or the listed merges. A piece is looked up in the worker's cache; a new one is merged, lowest priority
first and leftmost on a tie: short pieces by looking at all pairs before each merge, long ones with a heap.

Invariants. Two tables, of tokens and of pairs, are open-addressed, a power of two long and at most half
full, so probing ends. A heap entry is valid while the pair that starts at its place still has its priority;
every merge overwrites the priorities it changes. The cache holds at most CACHE_BYTES and is emptied when full.

Cost. A cached piece: one hash over its bytes and one comparison. A new piece of n bytes: n^2 / 2 steps below
LONG_PIECE bytes, n log n above.

Bounds. Vectors are indexed by token numbers that came out of the tables, and by places below their
size; a build with FASTLLM_CYTHON_DEBUG=1 checks each access.
"""

import numpy as np

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp
from libcpp.algorithm cimport pop_heap, push_heap
from libcpp.functional cimport greater
from libcpp.string_view cimport string_view
from libcpp.vector cimport vector

from fastllm.fast._hash cimport hash_bytes
from fastllm.fast._split cimport REGEX, Family, Scan, family_of, next_end

from fastllm import _bpe_arguments as arguments

cdef enum:
    NONE = 0xFFFFFFFF
    LONG_PIECE = 128  # bytes from which a heap beats looking at every pair
    CACHED_PIECE = 512  # longer pieces are not worth remembering
    CACHE_BYTES = 32 << 20


cdef inline size_t table_size(size_t entries) noexcept nogil:
    cdef size_t size = 16
    while size < 2 * entries + 2:
        size *= 2
    return size


cdef struct Pair:
    uint32_t left
    uint32_t right
    uint32_t priority
    uint32_t result


cdef cppclass Vocabulary:
    """The bytes of each token, and which tokens merge."""
    vector[char] data
    vector[size_t] offsets  # token t is data[offsets[t]:offsets[t + 1]]
    vector[uint32_t] ids
    vector[uint32_t] token_slots
    vector[Pair] pair_slots
    uint32_t byte_tokens[256]

    string_view token(uint32_t t) noexcept nogil:
        return string_view(this.data.data() + this.offsets[t], this.offsets[t + 1] - this.offsets[t])

    uint32_t find_token(string_view word) noexcept nogil:
        """The token that `word` is, or NONE."""
        cdef size_t mask = this.token_slots.size() - 1
        cdef size_t slot = hash_bytes(word.data(), word.size()) & mask
        cdef uint32_t t
        while True:
            t = this.token_slots[slot]
            if t == NONE or this.token(t) == word:
                return t
            slot = (slot + 1) & mask

    size_t pair_slot(uint32_t left, uint32_t right) noexcept nogil:
        """Where the pair is in the table, or the free slot where it would be."""
        cdef size_t mask = this.pair_slots.size() - 1
        cdef uint64_t h = (<uint64_t>left << 32 | right) * <uint64_t>0x9E3779B97F4A7C15
        cdef size_t slot = (h ^ h >> 32) & mask
        while this.pair_slots[slot].result != NONE and (
            this.pair_slots[slot].left != left or this.pair_slots[slot].right != right
        ):
            slot = (slot + 1) & mask
        return slot

    uint32_t priority(uint32_t left, uint32_t right) noexcept nogil:
        return this.pair_slots[this.pair_slot(left, right)].priority

    int index_tokens() except -1 nogil:
        cdef uint32_t t, count = <uint32_t>this.ids.size()
        cdef size_t slot, mask
        this.token_slots.assign(table_size(count), <uint32_t>NONE)
        mask = this.token_slots.size() - 1
        for t in range(count):
            slot = hash_bytes(this.token(t).data(), this.token(t).size()) & mask
            while this.token_slots[slot] != NONE:
                slot = (slot + 1) & mask
            this.token_slots[slot] = t
        cdef int byte
        cdef char character
        for byte in range(256):
            character = <char>byte
            this.byte_tokens[byte] = this.find_token(string_view(&character, 1))
        return 0

    int set_pairs(vector[Pair]& pairs) except -1 nogil:
        cdef Pair free = Pair(0, 0, NONE, NONE)
        this.pair_slots.assign(table_size(pairs.size()), free)
        for pair in pairs:  # a pair listed twice: the later counts, as in Hugging Face tokenizers
            this.pair_slots[this.pair_slot(pair.left, pair.right)] = pair
        return 0

    int pairs_of_ranks() except -1 nogil:
        """Every split of every token whose halves are tokens, at the token's own rank."""
        cdef vector[Pair] pairs
        cdef uint32_t t, left, right
        cdef size_t cut
        cdef string_view word
        for t in range(<uint32_t>this.ids.size()):
            word = this.token(t)
            for cut in range(1, word.size()):
                left = this.find_token(word.substr(0, cut))
                if left != NONE:
                    right = this.find_token(word.substr(cut, word.size() - cut))
                    if right != NONE:
                        pairs.push_back(Pair(left, right, t, t))
        return this.set_pairs(pairs)


cdef struct CacheEntry:
    uint64_t hash
    size_t word
    size_t tokens
    uint32_t word_size
    uint32_t token_count  # 0: free


cdef cppclass Cache:
    """Pieces met before and their tokens, in two arenas; emptied when it holds CACHE_BYTES."""
    vector[CacheEntry] slots
    vector[char] words
    vector[uint32_t] tokens
    size_t used

    int clear() except -1 nogil:
        cdef CacheEntry free = CacheEntry(0, 0, 0, 0, 0)
        this.slots.assign(1 << 12, free)
        this.words.clear()
        this.tokens.clear()
        this.used = 0
        return 0

    size_t slot_of(uint64_t h, string_view word) noexcept nogil:
        cdef size_t mask = this.slots.size() - 1, slot = h & mask
        cdef CacheEntry* entry
        while True:
            entry = &this.slots[slot]
            if entry.token_count == 0 or (
                entry.hash == h
                and entry.word_size == word.size()
                and memcmp(this.words.data() + entry.word, word.data(), word.size()) == 0
            ):
                return slot
            slot = (slot + 1) & mask

    size_t bytes_held() noexcept nogil:
        return this.slots.size() * sizeof(CacheEntry) + this.words.size() + this.tokens.size() * 4

    int grow() except -1 nogil:
        cdef vector[CacheEntry] old
        cdef CacheEntry free = CacheEntry(0, 0, 0, 0, 0)
        cdef size_t slot, mask
        old.swap(this.slots)
        this.slots.assign(2 * old.size(), free)
        mask = this.slots.size() - 1
        for entry in old:
            if entry.token_count:
                slot = entry.hash & mask
                while this.slots[slot].token_count:
                    slot = (slot + 1) & mask
                this.slots[slot] = entry
        return 0

    int add(uint64_t h, string_view word, const uint32_t* tokens, size_t count) except -1 nogil:
        if this.bytes_held() + word.size() + 4 * count > CACHE_BYTES:
            this.clear()
        if 2 * (this.used + 1) > this.slots.size():
            this.grow()
        this.slots[this.slot_of(h, word)] = CacheEntry(
            h, this.words.size(), this.tokens.size(), <uint32_t>word.size(), <uint32_t>count
        )
        this.words.insert(this.words.end(), word.data(), word.data() + word.size())
        this.tokens.insert(this.tokens.end(), tokens, tokens + count)
        this.used += 1
        return 0


cdef class Worker:
    """What one thread needs to encode: its cache and its buffers."""
    cdef Cache cache
    cdef vector[uint32_t] out  # the tokens of the text so far
    cdef vector[uint32_t] parts
    cdef vector[uint32_t] priorities
    cdef vector[uint32_t] before
    cdef vector[uint32_t] after
    cdef vector[uint64_t] heap
    cdef Pair last  # the last merge made
    cdef int missing  # a byte that is no token, or -1

    def __cinit__(self):
        self.cache.clear()

    cdef int encode_piece(self, Vocabulary* vocabulary, bint whole, bint drop, string_view piece) except -1 nogil:
        """Append the tokens of one piece to `out`."""
        cdef uint64_t h = hash_bytes(piece.data(), piece.size())
        cdef bint cached = piece.size() <= CACHED_PIECE
        cdef CacheEntry* entry
        cdef size_t start = self.out.size()
        cdef const uint32_t* tokens
        if cached:
            entry = &self.cache.slots[self.cache.slot_of(h, piece)]
            if entry.token_count:
                tokens = self.cache.tokens.data() + entry.tokens
                self.out.insert(self.out.end(), tokens, tokens + entry.token_count)
                return 0
        cdef uint32_t token = vocabulary.find_token(piece) if whole else <uint32_t>NONE
        if token != NONE:
            self.out.push_back(token)
        else:
            self.merge_piece(vocabulary, drop, piece)
        if cached and self.missing < 0 and self.out.size() > start:
            self.cache.add(h, piece, self.out.data() + start, self.out.size() - start)
        return 0

    cdef int merge_piece(self, Vocabulary* vocabulary, bint drop, string_view piece) except -1 nogil:
        """Merge the bytes of a piece and append what is left to `out`."""
        cdef size_t i
        cdef uint32_t token
        self.parts.clear()
        for i in range(piece.size()):
            token = vocabulary.byte_tokens[<uint8_t>piece[i]]
            if token != NONE:
                self.parts.push_back(token)
            elif not drop:
                self.missing = <uint8_t>piece[i]
                return 0
        if self.parts.size() < LONG_PIECE:
            self.merge_short(vocabulary)
        else:
            self.merge_long(vocabulary)
        self.out.insert(self.out.end(), self.parts.begin(), self.parts.end())
        return 0

    cdef int merge_short(self, Vocabulary* vocabulary) except -1 nogil:
        """Look at every pair, merge the best, close the gap; until no pair merges."""
        cdef size_t n = self.parts.size(), i, best
        self.priorities.clear()
        for i in range(1, n):
            self.priorities.push_back(vocabulary.priority(self.parts[i - 1], self.parts[i]))
        while n > 1:
            best = 0
            for i in range(1, n - 1):
                if self.priorities[i] < self.priorities[best]:
                    best = i
            if self.priorities[best] == NONE:
                return 0
            self.last = vocabulary.pair_slots[vocabulary.pair_slot(self.parts[best], self.parts[best + 1])]
            self.parts[best] = self.last.result
            self.parts.erase(self.parts.begin() + best + 1)
            self.priorities.erase(self.priorities.begin() + best)
            n -= 1
            if best > 0:
                self.priorities[best - 1] = vocabulary.priority(self.parts[best - 1], self.parts[best])
            if best + 1 < n:
                self.priorities[best] = vocabulary.priority(self.parts[best], self.parts[best + 1])
        return 0

    cdef int offer(self, Vocabulary* vocabulary, uint32_t i) except -1 nogil:
        """Note the priority of the pair that starts at place i, and queue it if it merges."""
        cdef uint32_t j = self.after[i]
        cdef uint32_t priority = NONE
        if j < self.parts.size():
            priority = vocabulary.priority(self.parts[i], self.parts[j])
        self.priorities[i] = priority
        if priority != NONE:
            self.heap.push_back(<uint64_t>priority << 32 | i)
            push_heap(self.heap.begin(), self.heap.end(), greater[uint64_t]())
        return 0

    cdef int merge_long(self, Vocabulary* vocabulary) except -1 nogil:
        """The same merges from a heap of (priority, place), the parts linked into a list."""
        cdef uint32_t n = <uint32_t>self.parts.size(), i, j, kept = 0
        cdef uint64_t top
        self.priorities.assign(n, <uint32_t>NONE)
        self.before.resize(n)
        self.after.resize(n)
        self.heap.clear()
        for i in range(n):
            self.before[i] = i - 1  # NONE for the first
            self.after[i] = i + 1
        for i in range(n):
            self.offer(vocabulary, i)
        while not self.heap.empty():
            top = self.heap.front()
            pop_heap(self.heap.begin(), self.heap.end(), greater[uint64_t]())
            self.heap.pop_back()
            i = <uint32_t>top
            if self.priorities[i] != top >> 32:
                continue
            j = self.after[i]
            self.last = vocabulary.pair_slots[vocabulary.pair_slot(self.parts[i], self.parts[j])]
            self.parts[i] = self.last.result
            self.parts[j] = NONE
            self.priorities[j] = NONE
            self.after[i] = self.after[j]
            if self.after[i] < n:
                self.before[self.after[i]] = i
            if self.before[i] != NONE:
                self.offer(vocabulary, self.before[i])
            self.offer(vocabulary, i)
        for i in range(n):
            if self.parts[i] != NONE:
                self.parts[kept] = self.parts[i]
                kept += 1
        self.parts.resize(kept)
        return 0

    cdef int encode_text(
        self, Vocabulary* vocabulary, Family family, bint whole, bint drop, string_view text
    ) except -1 nogil:
        """Put the tokens of `text` into `out`; `missing` says which byte stopped it, if one did."""
        cdef Scan scan = Scan(family, 0)
        cdef Py_ssize_t start = 0, end
        while start < <Py_ssize_t>text.size() and self.missing < 0:
            end = next_end(&scan, text, start)
            self.encode_piece(vocabulary, whole, drop, text.substr(start, end - start))
            start = end
        return 0


cdef class Encoder:
    """The compiled half of `BytePairEncoder`: arguments are checked before they come here."""
    cdef Vocabulary vocabulary
    cdef Family family
    cdef bint whole, drop
    cdef object pattern
    cdef dict bytes_of_id
    cdef list workers

    def __init__(self, dict vocabulary, merges, pattern, bint ignore_merges, bint drop, dict special_tokens):
        cdef bytes token
        self.pattern = pattern
        self.family = family_of(pattern.name)
        self.whole = merges is None or ignore_merges
        self.drop = drop
        self.bytes_of_id = {number: token for token, number in vocabulary.items()}
        self.workers = []
        self.vocabulary.offsets.push_back(0)
        for number in sorted(self.bytes_of_id):
            token = self.bytes_of_id[number]
            self.vocabulary.ids.push_back(number)
            self.vocabulary.data.insert(
                self.vocabulary.data.end(), <const char*>token, <const char*>token + len(token)
            )
            self.vocabulary.offsets.push_back(self.vocabulary.data.size())
        self.vocabulary.index_tokens()
        if merges is None:
            self.vocabulary.pairs_of_ranks()
        else:
            self._set_merges(merges)
        for name, number in special_tokens.items():
            self.bytes_of_id[number] = name.encode()

    def _set_merges(self, list merges):
        cdef vector[Pair] pairs
        cdef uint32_t rank
        cdef bytes left, right
        for rank, (left, right) in enumerate(merges):
            pairs.push_back(
                Pair(self._find(left), self._find(right), rank, self._find(left + right))
            )
        self.vocabulary.set_pairs(pairs)

    cdef uint32_t _find(self, bytes token):
        return self.vocabulary.find_token(string_view(<const char*>token, len(token)))

    cdef Worker _take_worker(self):
        """A worker of one's own; put back with `_done`."""
        cdef Worker worker
        try:
            worker = self.workers.pop()
        except IndexError:
            worker = Worker()
        worker.out.clear()
        worker.missing = -1
        return worker

    cdef int _done(self, Worker worker) except -1:
        self.workers.append(worker)
        if worker.missing >= 0:
            raise arguments.missing_byte_error(worker.missing)
        return 0

    cdef Worker _run(self, text):
        """A worker whose `out` holds the tokens of `text`."""
        cdef Worker worker = self._take_worker()
        cdef Py_ssize_t size
        cdef const char* data
        cdef bytes encoded
        if self.family == REGEX:
            text = self.pattern.normalize(arguments.check_text(text))
            for piece in split_by_expressions(text, self.pattern.expressions):
                encoded = piece.encode()
                worker.encode_piece(
                    &self.vocabulary, self.whole, self.drop, string_view(<const char*>encoded, len(encoded))
                )
            return worker
        if isinstance(text, str) and text.isascii():
            data = PyUnicode_AsUTF8AndSize(text, &size)  # the text's own bytes
        else:
            encoded = utf8(text, self.pattern)  # not AsUTF8AndSize: that would stay in memory with the text
            data = encoded
            size = len(encoded)
        cdef string_view view = string_view(data, size)
        with nogil:
            worker.encode_text(&self.vocabulary, self.family, self.whole, self.drop, view)
        return worker

    cdef _as_list(self, Worker worker):
        cdef size_t i
        return [self.vocabulary.ids[worker.out[i]] for i in range(worker.out.size())]

    def encode(self, text):
        cdef Worker worker = self._run(text)
        ids = self._as_list(worker)
        self._done(worker)
        return ids

    def encode_to_numpy(self, text):
        cdef Worker worker = self._run(text)
        ids = np.empty(worker.out.size(), dtype=np.uint32)
        cdef uint32_t[::1] view = ids
        cdef size_t i
        for i in range(worker.out.size()):
            view[i] = self.vocabulary.ids[worker.out[i]]
        self._done(worker)
        return ids

    def encode_piece(self, bytes piece):
        cdef Worker worker = self._take_worker()
        worker.encode_piece(
            &self.vocabulary, self.whole, self.drop, string_view(<const char*>piece, len(piece))
        )
        ids = self._as_list(worker)
        self._done(worker)
        return ids

    def count(self, text):
        cdef Worker worker = self._run(text)
        cdef Py_ssize_t count = worker.out.size()
        self._done(worker)
        return count

    def last_merge(self, bytes token):
        cdef Worker worker = self._take_worker()
        cdef uint32_t result = NONE
        worker.merge_piece(&self.vocabulary, self.drop, string_view(<const char*>token, len(token)))
        if worker.out.size() == 1 and len(token) > 1:
            result = worker.last.result
        cdef Pair last = worker.last
        self._done(worker)
        if result == NONE or worker.out[0] != result:
            return None
        return self._token_bytes(last.left), self._token_bytes(last.right)

    cdef bytes _token_bytes(self, uint32_t token):
        cdef string_view view = self.vocabulary.token(token)
        return PyBytes_FromStringAndSize(view.data(), view.size())

    def decode_bytes(self, ids):
        cdef dict bytes_of_id = self.bytes_of_id
        if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind in "iu":
            ids = ids.tolist()
        elif type(ids) is not list or not all_ints(ids):
            ids = arguments.check_ids(ids)
        try:
            return b"".join([bytes_of_id[number] for number in ids])
        except KeyError as error:
            raise arguments.unknown_id_error(error.args[0]) from None


cdef bytes utf8(text, pattern):
    """The bytes of `text`, normalized, surrogates replaced."""
    try:
        if pattern.normalization is None:
            return text.encode()
    except (AttributeError, UnicodeEncodeError):
        pass  # not a str, or one with surrogates: the shared check says so, or mends it
    return pattern.normalize(arguments.check_text(text)).encode()


cdef bint all_ints(list numbers):
    for number in numbers:
        if not isinstance(number, int):
            return False
    return True


def split_by_expressions(text, expressions):
    """The pieces by a pattern that has no scanner: what each expression matches, and what lies between."""
    pieces = [text]
    for expression in expressions:
        pieces = [part for piece in pieces for part in cut(expression, piece)]
    return pieces


def cut(expression, text):
    """The matches of `expression` in `text` and the stretches between them, none of them empty."""
    parts = []
    cdef Py_ssize_t start, end, done = 0
    for match in expression.finditer(text):
        start, end = match.span()
        if start > done:
            parts.append(text[done:start])
        if end > start:
            parts.append(text[start:end])
        done = end
    if done < len(text):
        parts.append(text[done:])
    return parts


def merge_pair(list ids, first, second, new_id):
    """`ids` with each pair (first, second) replaced by `new_id`, from left to right."""
    merged = []
    cdef Py_ssize_t i = 0, n = len(ids)
    while i < n:
        if i + 1 < n and ids[i] == first and ids[i + 1] == second:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged
