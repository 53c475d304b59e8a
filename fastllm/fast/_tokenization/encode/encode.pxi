"""Encoding and decoding: the overview. C++ headers beside this file do the work on bytes.

A text goes through three stages: a `Splitter` (split/splitter.h) sets a bit where each pre-token starts; a `Worker`
(worker.h; encode_pretokens.h, with pretoken_cache.h, merge_by_scan.h and merge_by_tree.h) turns pre-tokens into ids;
what is here turns ids into a list or an array.

A worker holds what one thread needs: a cache of pre-tokens, which stays warm between calls, and buffers. A call takes
one from the encoder's pool (worker_pool.h), or a batch one for each of its threads (encode_batch.h), and puts it back.
The interpreter is released for texts of at least MIN_NOGIL_BYTES; batches of less than MIN_THREADS_BYTES are not
worth a thread.

Texts are cut into segments of about SEGMENT_BYTES where no pre-token can reach across (text_cuts.h), so that what a
worker holds does not grow with the text. Text without such a place is one segment.
"""

import re
from operator import itemgetter

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy
from libcpp.memory cimport make_shared, shared_ptr, unique_ptr
from libcpp.string_view cimport string_view
from libcpp.string cimport string
from libcpp.utility cimport move, pair
from libcpp.vector cimport vector
from cython.operator cimport dereference as deref

from fastllm.api.models import CharacterBPE, SentencePieces, Unigram, WordLevel, WordPiece, byte_token
from fastllm.api.threads import get_num_threads
from fastllm.checks import tokenization as arguments
from fastllm.checks import lazy_numpy as np

cdef extern from "encode/worker.h" namespace "fastllm" nogil:
    cdef struct Pair:
        uint32_t left
        uint32_t right
        uint32_t priority
        uint32_t result

    const uint32_t MAX_TOKENS, MAX_MERGES

    cdef cppclass Vocabulary:
        vector[uint32_t] ids
        string_view token(uint32_t)
        void add_token(string_view, uint32_t) except +
        uint32_t find_token(string_view)
        void index_tokens() except +
        void index_pairs_of_ranks() except +
        void index_pairs(vector[Pair]&, bint listed) except +

    cdef cppclass IdBuffer:
        uint32_t* data
        size_t size
        bint borrowed
        void borrow(uint32_t*, size_t room)
        void reserve(size_t) except +
        void swap(IdBuffer&)
        void trim()

    cdef cppclass IdBufferPool:
        void take(IdBuffer&)
        void put(IdBuffer&)

    cdef cppclass MergeTree:
        vector[uint32_t] tokens
        Pair last_merge

    cdef cppclass PretokenCache:
        size_t bytes_held()
        size_t evictions

    cdef struct Text:
        const void* data
        size_t size
        int width

    cdef cppclass Span:
        uint32_t start
        uint32_t end

    cdef cppclass TokenSizes:
        bint known()

    cdef cppclass Model:
        TokenSizes token_sizes()

    cdef cppclass WorkerOptions:
        const Vocabulary* vocabulary
        const Model* model
        bint ignore_merges
        bint drop_unknown
        Isa isa
        size_t cache_bytes

    cdef cppclass Worker:
        Worker(const WorkerOptions&) except +
        PretokenCache cache
        MergeTree merge_tree
        vector[uint64_t] starts
        SplitScratch split_scratch
        IdBuffer out
        vector[Span] spans
        int missing_byte
        bint lone_surrogate
        void begin()
        void encode_text(const Splitter&, const Text&) except +
        void encode_pretokens(string_view) except +
        void locate_text(const Splitter&, const TokenSizes&, const Text&, uint32_t first) except +
        void locate_pretokens(string_view, vector[Span]&) except +
        void merge(string_view) except +

cdef extern from "encode/word_level.h" namespace "fastllm" nogil:
    cdef cppclass WordLevelModel(Model):
        WordLevelModel(shared_ptr[Vocabulary], uint32_t unknown) except +

cdef extern from "encode/word_piece.h" namespace "fastllm" nogil:
    cdef cppclass WordPieceModel(Model):
        WordPieceModel(const Vocabulary&, string_view prefix, uint32_t unknown, size_t max_characters) except +

cdef extern from "encode/character_bpe.h" namespace "fastllm" nogil:
    cdef cppclass CharacterRules:
        bint byte_fallback, fuse_unknown, ignore_merges, reads_blanks, keeps_characters
        string prefix, suffix
        uint32_t unknown
        uint32_t bytes[256]

    cdef cppclass UnknownRules:
        bint byte_fallback
        uint32_t unknown
        uint32_t bytes[256]

    cdef cppclass MergedPieces:
        Vocabulary vocabulary
        vector[pair[uint32_t, uint32_t]] halves
        vector[uint32_t] order
        bint halves_vary
        vector[uint8_t] unused

    cdef cppclass UserDefined:
        Vocabulary vocabulary
        ByteTrie trie

    cdef cppclass CharacterBPEModel(Model):
        CharacterBPEModel(const Vocabulary&, const CharacterRules&) except +

    cdef cppclass MergedPiecesModel(Model):
        MergedPiecesModel(
            shared_ptr[MergedPieces], shared_ptr[UserDefined], const UnknownRules&, bint reads_blanks
        ) except +

cdef extern from "encode/looked_up_pieces.h" namespace "fastllm" nogil:
    cdef cppclass LookedUpPiecesModel(Model):
        LookedUpPiecesModel(
            shared_ptr[Vocabulary], shared_ptr[UserDefined], const UnknownRules&, bint by_words
        ) except +

cdef extern from "encode/unigram.h" namespace "fastllm" nogil:
    cdef cppclass UnigramRules:
        bint reads_blanks, takes_words, is_single, by_words
        double unknown_score

    cdef cppclass UnigramModel(Model):
        UnigramModel(
            shared_ptr[Vocabulary], vector[double] scores, const UnknownRules&, const UnigramRules&
        ) except +

cdef extern from "encode/worker_pool.h" namespace "fastllm" nogil:
    cdef cppclass WorkerPool:
        unique_ptr[Worker] take()
        void put(unique_ptr[Worker]) except +
        vector[unique_ptr[Worker]] idle

cdef extern from "encode/encode_batch.h" namespace "fastllm" nogil:
    cdef cppclass BatchEncoder:
        vector[int64_t] offsets
        IdBuffer ids
        bint lone_surrogate
        void add(const Splitter&, const Text&, bint shared) except +
        void run(vector[unique_ptr[Worker]]&, const Splitter&) except +
        void clear()

cdef extern from "encode/decoder.h" namespace "fastllm" nogil:
    cdef cppclass Decoder:
        void add(string_view, uint64_t id, uint64_t num_dense) except +
        size_t size_of(const int64_t*, size_t count, Py_ssize_t& unknown)
        void write(const int64_t*, size_t count, char*, size_t size)

cdef extern from "encode/python_text.h" namespace "fastllm":
    Text text_of(object) except +

cdef extern from "encode/id_lists.h" namespace "fastllm":
    list list_of_ids(PyObject** table, const uint32_t* ids, size_t count)
    cdef cppclass SharedSpans:
        pass

    list list_of_spans(
        SharedSpans&, PyObject** table, int64_t table_size, const int64_t* starts, const int64_t* ends, size_t count
    )
    list list_of_located "fastllm::list_of_spans"(
        SharedSpans&, PyObject** table, int64_t table_size, const vector[Span]&
    )

cdef extern from "Python.h":
    PyObject** PySequence_Fast_ITEMS(object)
    bint PyUnicode_IS_ASCII(object)

cdef enum:
    MIN_NOGIL_BYTES = 1 << 13  # a text that is worth releasing the interpreter for
    CACHE_BYTES = 64 << 20  # of each worker
    MIN_THREADS_BYTES = 1 << 17  # a batch that is worth threads


cdef uint32_t NO_TOKEN = 0xFFFFFFFF  # NONE
cdef SharedSpans* SHARED_SPANS = new SharedSpans()  # of all encoders
cdef dict CUTTER_KINDS = {"pairs": PAIRS, "pairs-blanks": PAIRS_BLANKS, "blanks": BLANKS, "spaces": SPACES, "runs": RUNS}
cdef object ESCAPED = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of bytes that are not UTF-8


cdef class IdMemory:
    """Ids that an encoding has left, as the memory of an array."""
    cdef IdBuffer ids
    cdef shared_ptr[IdBufferPool] pool  # where the memory goes in the end

    @staticmethod
    cdef IdMemory of(IdBuffer& ids, shared_ptr[IdBufferPool] pool):
        cdef IdMemory memory = IdMemory()
        memory.ids.swap(ids)
        memory.ids.trim()
        memory.pool = pool
        return memory

    def __dealloc__(self):
        if self.pool:
            deref(self.pool).put(self.ids)

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.ids.data, 4 * self.ids.size, False, flags)


cdef class Encoder:
    """What the compiled halves of the encoders share: arguments are checked before they come here."""
    cdef Vocabulary vocabulary
    cdef Splitter splitter
    cdef unique_ptr[Model] model  # none: bytes are merged
    cdef WorkerOptions options
    cdef bint normalizes
    cdef object pattern, normalize  # a function, from a text to the one that is split
    cdef WorkerPool workers
    cdef shared_ptr[IdBufferPool] pool
    cdef list ints  # ints[i] is i, for ids up to the highest; empty where they would be too many
    cdef readonly int64_t _highest  # of all ids; -1 where there is none

    def __cinit__(self):
        self.pool = make_shared[IdBufferPool]()
        self._highest = -1
        self.options.ignore_merges = self.options.drop_unknown = False

    cdef int _set_splitter(self, pattern, normalize) except -1:
        """Split by `pattern` what `normalize` has made of a text; None leaves a text as it is."""
        self.pattern = pattern
        self.normalizes = normalize is not None
        self.normalize = normalize or (lambda text: text)
        self.splitter = splitter_of(pattern, isa_number())
        return 0

    cdef int _add_tokens(self, vocabulary) except -1:
        """Fill the vocabulary with tokens, of bytes or str, and their ids."""
        cdef bytes token
        cdef int64_t number
        size = len(vocabulary)
        if size > MAX_TOKENS:
            raise ValueError(f"vocabulary has {size:,} entries; the compiled encoder takes {MAX_TOKENS:,} at most")
        items = vocabulary.items()
        if not are_in_order(vocabulary):
            items = sorted(items, key=itemgetter(1))
        for text, number in items:
            token = text if isinstance(text, bytes) else text.encode()
            self.vocabulary.add_token(string_view(<const char*>token, len(token)), number)
            self._highest = number
        return 0

    cdef int _finish(self, int64_t highest) except -1:
        """Get ready for work, once the vocabulary is filled; no id, special ones included, is above `highest`."""
        self.options.vocabulary = &self.vocabulary
        self.options.model = self.model.get()
        self.options.isa = self.splitter.isa
        self.options.cache_bytes = CACHE_BYTES
        self.ints = list(range(highest + 1)) if highest < 4 * <int64_t>self.vocabulary.ids.size() + 1024 else []
        return 0

    cdef int _take_worker(self, unique_ptr[Worker]& worker) except -1:
        """A worker of one's own; put back with `_put_back`."""
        worker = self.workers.take()
        if not worker:
            worker.reset(new Worker(self.options))
        deref(worker).begin()
        return 0

    cdef int _put_back(self, unique_ptr[Worker]& worker) except -1:
        """The worker may serve other calls; raises if a byte of the text was no token."""
        cdef int missing = deref(worker).missing_byte
        self.workers.put(move(worker))
        if missing >= 0:
            raise arguments.missing_byte_error(missing)
        return 0

    cdef int _run(self, text, unique_ptr[Worker]& worker) except -1:
        """Take a worker, and let it put the ids of `text` into its `out`."""
        cdef Text characters
        if self.normalizes or not self.splitter.is_compiled() or not isinstance(text, str):
            text = self.normalize(arguments.check_text(text))
        self._take_worker(worker)
        if not self.splitter.is_compiled():
            return self._run_expressions(deref(worker), text)
        characters = text_of(text)
        if characters.size < MIN_NOGIL_BYTES:
            deref(worker).encode_text(self.splitter, characters)
        else:
            with nogil:
                deref(worker).encode_text(self.splitter, characters)
        if deref(worker).lone_surrogate:
            self._put_back(worker)
            return self._run(arguments.check_text(text), worker)
        return 0

    cdef int _run_expressions(self, Worker& worker, text) except -1:
        """Encode by a pattern that has no scanner."""
        cdef size_t start = 0
        cdef bytes encoded
        words = [word.encode("utf-8", "surrogateescape") for word in split_by_expressions(text, self.pattern)]
        encoded = b"".join(words)
        worker.starts.assign(len(encoded) // 64 + 1, <uint64_t>0)
        for word in words:
            worker.starts[start >> 6] |= <uint64_t>1 << (start & 63)
            start += len(word)
        worker.encode_pretokens(string_view(<const char*>encoded, len(encoded)))
        return 0

    cdef int _find_starts_by_expressions(self, Worker& worker, text, bytes encoded) except -1:
        """Set the starts of pre-tokens, and of removed parts, in `encoded`, which is `text` in UTF-8."""
        cdef size_t place = 0, words = len(encoded) // 64 + 1
        worker.starts.assign(words, <uint64_t>0)
        worker.split_scratch.removed.begins.assign(words, <uint64_t>0)
        done = 0
        for start, end in [*spans_of(self.pattern, text), (len(text), len(text))]:
            for part, is_removed in ((text[done:start], True), (text[start:end], False)):
                if part:
                    worker.starts[place >> 6] |= <uint64_t>1 << (place & 63)
                    if is_removed:
                        worker.split_scratch.removed.begins[place >> 6] |= <uint64_t>1 << (place & 63)
                    place += len(part.encode())
            done = end
        return 0

    cdef list _as_list(self, IdBuffer& out):
        cdef PyObject** table = PySequence_Fast_ITEMS(self.ints) if self.ints else NULL
        return list_of_ids(table, out.data, out.size)

    def encode(self, text):
        cdef unique_ptr[Worker] worker
        self._run(text, worker)
        ids = self._as_list(deref(worker).out)
        self._put_back(worker)
        return ids

    cdef bint _run_between(self, str text, Finder finder, TokenIds token_ids, Worker& worker) except -1:
        """Encode what lies between the tokens that `finder` finds, which become their ids; False if it cannot."""
        cdef FoundToken found
        cdef size_t done = 0, size = PyUnicode_GET_LENGTH(text)
        cdef int width = 0 if PyUnicode_IS_ASCII(text) else PyUnicode_KIND(text)
        cdef const char* data = <const char*>PyUnicode_DATA(text)
        with nogil:
            while not worker.lone_surrogate:
                is_token = finder.find_in(data, size, width, done, found)
                if not is_token:
                    found.start = size
                if found.start > done:
                    worker.encode_text(self.splitter, Text(data + (width or 1) * done, found.start - done, width))
                if not is_token:
                    break
                worker.out.reserve(1)
                worker.out.data[worker.out.size] = token_ids.ids[found.token]
                worker.out.size += 1
                done = found.end
        return not worker.lone_surrogate

    def _encode_between(self, str text, Finder finder, dict id_of, bint as_list):
        """The ids of a text that is cut at tokens to take whole, as a list or an array; None if it cannot."""
        cdef unique_ptr[Worker] worker
        cdef list ints
        cdef TokenIds token_ids = finder.ids_by(id_of)
        self._take_worker(worker)
        ids = None
        if self._run_between(text, finder, token_ids, deref(worker)):
            if as_list:
                # Tokens to take whole may have higher ids than all that the encoder knows.
                ints = token_ids.ints if self.ints and token_ids.highest >= len(self.ints) else self.ints
                ids = list_of_ids(
                    PySequence_Fast_ITEMS(ints) if ints else NULL, deref(worker).out.data, deref(worker).out.size
                )
            else:
                ids = np.empty(deref(worker).out.size, np.uint32)
                copy_into(ids, deref(worker).out)
        self._put_back(worker)
        return ids

    def encode_to_numpy(self, text, dtype=None):
        cdef unique_ptr[Worker] worker
        if dtype is not None:
            dtype = arguments.check_id_dtype(dtype, self._highest)
        self._run(text, worker)
        ids = np.empty(deref(worker).out.size, np.uint32)
        copy_into(ids, deref(worker).out)
        self._put_back(worker)
        return ids if dtype is None else ids.astype(dtype, copy=False)

    def as_lists(self, ids, starts, ends):
        cdef const uint32_t[::1] numbers = ids
        cdef const int64_t[::1] first = starts, last = ends
        cdef size_t count = len(ids)
        if not count == <size_t>len(starts) == <size_t>len(ends):
            raise ValueError("ids, starts and ends must be of the same length")
        if count == 0:
            return [], []
        cdef PyObject** table = PySequence_Fast_ITEMS(self.ints)
        return (
            list_of_ids(table if ids.max() < len(self.ints) else NULL, &numbers[0], count),
            list_of_spans(deref(SHARED_SPANS), table, len(self.ints), &first[0], &last[0], count),
        )

    cdef int _run_batch(self, BatchEncoder& job, list texts, threads, uint32_t* out, size_t room) except -1:
        """Encode all texts, on threads where that pays, to the memory at `out`, as long as it suffices."""
        cdef vector[unique_ptr[Worker]] workers
        cdef unique_ptr[Worker] worker
        cdef size_t total = 0
        cdef Text characters
        cdef bint shared
        most = threads or get_num_threads()
        shared = most > 1 and sum(map(len, texts)) >= MIN_THREADS_BYTES
        if self.normalizes:
            texts = [self.normalize(arguments.check_text(text)) for text in texts]
        for text in texts:
            characters = text_of(text)
            job.add(self.splitter, characters, shared)
            total += characters.size
        for _ in range(min(most, total // (MIN_THREADS_BYTES // 2)) if shared else 1):
            self._take_worker(worker)
            workers.push_back(move(worker))
        if out:
            job.ids.borrow(out, room)
        else:
            deref(self.pool).take(job.ids)
        with nogil:
            job.run(workers, self.splitter)
        self._put_all_back(workers)
        if job.lone_surrogate:
            job.clear()
            return self._run_batch(job, [arguments.check_text(t) for t in texts], threads, out, room)
        return 0

    cdef int _put_all_back(self, vector[unique_ptr[Worker]]& workers) except -1:
        cdef int missing = -1
        cdef size_t i
        for i in range(workers.size()):
            missing = max(missing, deref(workers[i]).missing_byte)
            self.workers.put(move(workers[i]))
        if missing >= 0:
            raise arguments.missing_byte_error(missing)
        return 0

    def _encode_flat(self, list texts, threads, out):
        """All ids in one array, new or at the front of `out`, and the offsets of the texts."""
        cdef BatchEncoder job
        cdef Py_buffer view
        cdef size_t total
        if not self.splitter.is_compiled():
            return self._encode_flat_serially(texts, out)
        if arguments.check_out(out) is None:
            self._run_batch(job, texts, threads, NULL, 0)
        else:
            PyObject_GetBuffer(out, &view, PyBUF_SIMPLE)
            try:
                self._run_batch(job, texts, threads, <uint32_t*>view.buf, view.len // 4)
            finally:
                PyBuffer_Release(&view)
        total = job.ids.size
        if out is None and total:
            array = np.frombuffer(IdMemory.of(job.ids, self.pool), np.uint32)
        else:
            array = arguments.room_for_ids(out, total)
            if total and not job.ids.borrowed:
                copy_into(array, job.ids)
        offsets = np.empty(job.offsets.size(), np.int64)
        PyObject_GetBuffer(offsets, &view, PyBUF_SIMPLE)
        memcpy(view.buf, job.offsets.data(), 8 * job.offsets.size())
        PyBuffer_Release(&view)
        return array, offsets

    def _encode_flat_serially(self, list texts, out):
        batch = [self.encode_to_numpy(text) for text in texts]
        offsets = np.zeros(len(batch) + 1, np.int64)
        np.cumsum([ids.size for ids in batch], out=offsets[1:])
        ids = arguments.room_for_ids(out, offsets[len(batch)])
        np.concatenate([np.empty(0, np.uint32), *batch], out=ids)
        return ids, offsets

    def _encode_lists(self, list texts, threads):
        """The ids of each text as a list."""
        cdef PyObject** table = PySequence_Fast_ITEMS(self.ints) if self.ints else NULL
        cdef BatchEncoder job
        cdef Py_ssize_t i
        if not self.splitter.is_compiled() or len(texts) == 1:
            return [self.encode(text) for text in texts]
        self._run_batch(job, texts, threads, NULL, 0)
        lists = [
            list_of_ids(table, job.ids.data + job.offsets[i], job.offsets[i + 1] - job.offsets[i])
            for i in range(len(texts))
        ]
        deref(self.pool).put(job.ids)
        return lists

    def count_batch(self, texts, threads=None):
        cdef BatchEncoder job
        batch = arguments.check_batch(texts, threads)
        if not self.splitter.is_compiled():
            return [self.count(text) for text in batch]
        self._run_batch(job, batch, threads, NULL, 0)
        deref(self.pool).put(job.ids)
        return [job.offsets[i + 1] - job.offsets[i] for i in range(len(batch))]

    def encode_piece(self, bytes piece):
        cdef unique_ptr[Worker] worker
        self._take_worker(worker)
        deref(worker).starts.assign(len(piece) // 64 + 1, <uint64_t>0)
        deref(worker).starts[0] = 1
        deref(worker).encode_pretokens(string_view(<const char*>piece, len(piece)))
        ids = self._as_list(deref(worker).out)
        self._put_back(worker)
        return ids

    def count(self, text):
        cdef unique_ptr[Worker] worker
        self._run(text, worker)
        cdef Py_ssize_t count = deref(worker).out.size
        self._put_back(worker)
        return count

    def _set_cache_bytes(self, size_t cache_bytes):
        """Limit each worker's cache; for tests."""
        self.options.cache_bytes = cache_bytes
        self.workers.idle.clear()

    def _set_isa(self, int isa):
        """Use another instruction set, by its place in ISAS; for tests."""
        self.splitter.isa = self.options.isa = <Isa>isa
        self.workers.idle.clear()

    def _cache_state(self):
        """Bytes held and how often it was emptied, of each worker's cache that is not in use; for tests."""
        cdef size_t i
        return [
            (deref(self.workers.idle[i]).cache.bytes_held(), deref(self.workers.idle[i]).cache.evictions)
            for i in range(self.workers.idle.size())
        ]


cdef class TokensOfIds:
    """What decodes. Nothing changes once it is made, so that any thread may read."""
    cdef Decoder decoder

    def __cinit__(self, vocabulary, dict special_tokens):
        cdef bytes token
        cdef uint64_t dense = 4 * (len(vocabulary) + len(special_tokens)) + 1024
        for token, number in vocabulary.items():
            self.decoder.add(string_view(<const char*>token, len(token)), number, dense)
        for name, number in special_tokens.items():
            token = name.encode()
            self.decoder.add(string_view(<const char*>token, len(token)), number, dense)


cdef class ByteEncoder(Encoder):
    """The compiled half of `BytePairEncoder`."""
    cdef tuple given  # vocabulary and special tokens
    cdef TokensOfIds decoder  # made by the first decoding

    def _set_up(self, vocabulary, merges, pattern, bint ignore_merges, bint drop_missing, dict special_tokens):
        if len(merges or ()) > MAX_MERGES:
            raise ValueError(f"merges has {len(merges):,} entries; the compiled encoder takes {MAX_MERGES:,} at most")
        self._set_splitter(pattern, pattern.normalize if pattern.normalization is not None else None)
        self.options.ignore_merges = merges is None or ignore_merges
        self.options.drop_unknown = drop_missing
        self.given = (vocabulary, special_tokens)
        self._add_tokens(vocabulary)
        self.vocabulary.index_tokens()
        if merges is None:
            self.vocabulary.index_pairs_of_ranks()
        else:
            self._set_merges(merges)
        self._finish(max(self._highest, max(special_tokens.values(), default=-1)))

    def _set_merges(self, list merges):
        cdef vector[Pair] pairs
        cdef uint32_t rank
        cdef bytes left, right
        for rank, (left, right) in enumerate(merges):
            pairs.push_back(Pair(self._find(left), self._find(right), rank, self._find(left + right)))
        self.vocabulary.index_pairs(pairs, True)

    cdef uint32_t _find(self, bytes token):
        return self.vocabulary.find_token(string_view(<const char*>token, len(token)))

    def encode_bytes(self, data):
        cdef bytes shape, encoded = arguments.check_bytes(data)
        cdef unique_ptr[Worker] worker
        try:
            return self.encode(encoded.decode())
        except UnicodeDecodeError:
            text = self.normalize(encoded.decode("utf-8", "surrogateescape"))
        encoded = text.encode("utf-8", "surrogateescape")
        self._take_worker(worker)
        if not self.splitter.is_compiled():
            self._run_expressions(deref(worker), text)
        else:
            # Scanners want UTF-8: zeros, which are of no class either, stand in for the bytes that are none.
            shape = ESCAPED.sub("\0", text).encode()
            self.splitter.find_starts(
                string_view(<const char*>shape, len(shape)), deref(worker).starts, deref(worker).split_scratch
            )
            deref(worker).encode_pretokens(
                deref(worker).split_scratch.removed.leave_out(
                    self.splitter.isa, string_view(<const char*>encoded, len(encoded)), deref(worker).starts
                )
            )
        ids = self._as_list(deref(worker).out)
        self._put_back(worker)
        return ids

    def last_merge(self, bytes token):
        cdef unique_ptr[Worker] worker
        self._take_worker(worker)
        deref(worker).merge(string_view(<const char*>token, len(token)))
        cdef Pair last = deref(worker).merge_tree.last_merge
        cdef bint made = len(token) > 1 and deref(worker).merge_tree.tokens.size() == 1
        made = made and deref(worker).merge_tree.tokens[0] == last.result
        self._put_back(worker)
        return (self._token_bytes(last.left), self._token_bytes(last.right)) if made else None

    cdef bytes _token_bytes(self, uint32_t token):
        cdef string_view view = self.vocabulary.token(token)
        return PyBytes_FromStringAndSize(view.data(), view.size())

    def decode_bytes(self, ids):
        cdef vector[int64_t] numbers
        cdef Py_ssize_t unknown = -1, size
        cdef TokensOfIds known = self._tokens_of_ids()
        if type(ids) is not list or not read_ints(ids, numbers):
            if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype.kind in "iu":
                read_array(ids, numbers)
            else:
                ids = arguments.check_ids(ids)
                if not read_ints(ids, numbers):
                    raise arguments.unknown_id_error(max(ids, key=abs))  # beyond 64 bits
        size = known.decoder.size_of(numbers.data(), numbers.size(), unknown)
        if unknown >= 0:
            raise arguments.unknown_id_error(ids[unknown])
        decoded = PyBytes_FromStringAndSize(NULL, size)
        known.decoder.write(numbers.data(), numbers.size(), PyBytes_AS_STRING(decoded), size)
        return decoded

    cdef TokensOfIds _tokens_of_ids(self):
        """What decodes, made by the first call; by each of the first, if several threads make them."""
        cdef TokensOfIds known
        with cython.critical_section(self):
            known = self.decoder
        if known is None:
            known = TokensOfIds(*self.given)
            with cython.critical_section(self):
                self.decoder = known
        return known


cdef class SizesOfTokens:
    """How long the tokens of a model are. Nothing changes once it is made, so that any thread may read."""
    cdef TokenSizes sizes


cdef class ModelEncoder(Encoder):
    """The compiled half of `SubwordEncoder`."""
    cdef object normalize_with_places  # a function, from a text to the one that is split and where it comes from
    cdef shared_ptr[PairCutter] cutter  # that of the splitter
    cdef SizesOfTokens sizes  # made by the first call that asks for places
    cdef bint keeps_places

    @property
    def _encodes_between(self):
        """Whether `_encode_between` can be called."""
        return not self.normalizes and self.splitter.is_compiled()

    def _set_up_model(
        self, model, pattern, normalize, normalize_with_places, BertTable bert=None, cuts=None, TextSteps steps=None
    ):
        """`bert` normalizes and splits as `normalize` and `pattern` do, at once. `cuts` says how text is cut that
        `pattern` does not split: see `fastllm.fast._tokenization.text_cutting`. `steps` come after `normalize`."""
        self.normalize_with_places = normalize_with_places
        self._set_splitter(pattern, normalize if bert is None else None)
        if bert is not None:
            self.splitter.bert = <shared_ptr[const CppBertTable]>bert.table
        if cuts is not None and cuts.kind is not None:
            self._set_cutter(cuts)
        if steps is not None:
            self.splitter.steps = <shared_ptr[const CppTextSteps]>steps.steps
        self.splitter.gathers_words = cuts is not None and cuts.takes_words
        self.keeps_places = cuts is None or cuts.keeps_places
        self._add_tokens(model.vocabulary)
        self._make_model(model, cuts)
        self._finish(self._highest)

    cdef int _set_cutter(self, cuts) except -1:
        cdef bytes token
        self.cutter = shared_ptr[PairCutter](new PairCutter(CUTTER_KINDS[cuts.kind], cuts.reads_blanks))
        for text in cuts.tokens:
            token = text.encode()
            self.cutter.get().add_token(string_view(<const char*>token, len(token)))
        self.splitter = Splitter(SharedCutter(self.cutter), self.splitter.isa)
        return 0

    cdef int _make_model(self, model, cuts) except -1:
        """Make what C++ calls a model; one `if` a kind."""
        cdef bytes prefix
        if isinstance(model, WordLevel):
            self.model.reset(
                <Model*>new WordLevelModel(
                    vocabulary_of(list(model.vocabulary.items())), model.vocabulary.get(model.unknown, NO_TOKEN)
                )
            )
            return 0
        if isinstance(model, WordPiece):
            prefix = model.prefix.encode()
            self.model.reset(
                <Model*>new WordPieceModel(
                    self.vocabulary,
                    string_view(<const char*>prefix, len(prefix)),
                    model.vocabulary[model.unknown],
                    min(model.max_word_characters, arguments.MAX_ID),
                )
            )
            return 0
        if isinstance(model, CharacterBPE):
            return self._make_character_bpe(model, cuts.reads_blanks)
        if isinstance(model, Unigram):
            return self._make_unigram(model, cuts)
        if isinstance(model, SentencePieces):
            if model.algorithm == "bpe":
                return self._make_merged(model, cuts)
            if model.algorithm == "unigram":
                return self._make_single_unigram(model, cuts)
            self.model.reset(
                <Model*>new LookedUpPiecesModel(
                    vocabulary_of(
                        [item for item in model.vocabulary.items() if item[1] not in model.no_text | model.unused]
                    ),
                    user_defined_of([(model.pieces[number][0], number) for number in model.user_defined]),
                    unknown_rules(model),
                    model.algorithm == "words",
                )
            )
            return 0
        raise NotImplementedError(f"{type(model).__name__} has no model in encode/")

    cdef int _make_character_bpe(self, model, bint reads_blanks) except -1:
        cdef CharacterRules rules
        cdef vector[Pair] pairs
        cdef uint32_t rank
        cdef size_t byte
        cdef dict token_of = dict(model.vocabulary)
        self.vocabulary.index_tokens()
        if len(model.merges) > MAX_MERGES:
            raise ValueError(
                f"merges has {len(model.merges):,} entries; the compiled encoder takes {MAX_MERGES:,} at most"
            )
        if self._highest != <int64_t>self.vocabulary.ids.size() - 1 or not are_in_order(model.vocabulary):
            token_of = {text: number for number, text in enumerate(in_order_of_ids(model.vocabulary))}
        cut = len(model.prefix)
        pairs.reserve(len(model.merges))
        for rank, (left, right) in enumerate(model.merges):
            whole = left + right[cut:] if cut else left + right
            pairs.push_back(Pair(token_of[left], token_of[right], rank, token_of[whole]))
            if self.cutter:  # it cuts where no token lies across
                self.cutter.get().add_token(self.vocabulary.token(pairs.back().result))
        self.vocabulary.index_pairs(pairs, True)
        rules.byte_fallback = model.byte_fallback
        rules.fuse_unknown = model.fuse_unknown
        rules.ignore_merges = model.ignore_merges
        rules.reads_blanks = reads_blanks
        rules.keeps_characters = keeps_characters(model)
        rules.prefix = model.prefix.encode()
        rules.suffix = model.suffix.encode()
        if model.unknown is not None:
            rules.unknown = token_of[model.unknown]
        for byte in range(256):
            rules.bytes[byte] = token_of.get(byte_token(byte), NO_TOKEN)
        self.model.reset(<Model*>new CharacterBPEModel(self.vocabulary, rules))
        return 0

    cdef int _make_unigram(self, model, cuts) except -1:
        cdef UnigramRules rules
        cdef vector[double] scores
        scores = [model.pieces[number][1] for number in model.vocabulary.values()]
        rules.reads_blanks = cuts.reads_blanks
        rules.takes_words = cuts.takes_words
        rules.unknown_score = min([score for _, score in model.pieces], default=0.0) - 10.0
        self.model.reset(
            <Model*>new UnigramModel(
                vocabulary_of(list(model.vocabulary.items())), scores, unknown_rules(model), rules
            )
        )
        return 0

    cdef int _make_single_unigram(self, model, cuts) except -1:
        cdef UnigramRules rules
        cdef vector[double] scores
        pieces = [
            (piece, number)
            for number, (piece, _) in enumerate(model.pieces)
            if number not in model.no_text and number not in model.unused
        ]
        for piece, number in pieces:
            if number in model.user_defined:
                scores.push_back(<float>(0.1 * (len(piece.encode()) - 1)))
            else:
                scores.push_back(<float>model.pieces[number][1])
        normal = [<float>model.pieces[n][1] for _, n in pieces if n not in model.user_defined]
        rules.reads_blanks = cuts.reads_blanks
        rules.is_single = True
        rules.by_words = self.splitter.sums_scores = cuts.kind == "runs"
        rules.unknown_score = <float>(min(normal, default=0.0) - 10.0)
        self.model.reset(
            <Model*>new UnigramModel(vocabulary_of(pieces), scores, unknown_rules(model), rules)
        )
        return 0

    cdef int _make_merged(self, model, cuts) except -1:
        """Pieces that merge by their scores: pairs whose priorities are in the order of what they make."""
        cdef MergedPieces* merged = new MergedPieces()
        cdef shared_ptr[MergedPieces] shared = shared_ptr[MergedPieces](merged)
        cdef shared_ptr[UserDefined] user_defined
        cdef vector[Pair] pairs
        cdef uint32_t number, priority, left, right
        cdef bytes token
        plan = cuts.merges
        for text, number in plan.tokens:
            token = text.encode()
            merged.vocabulary.add_token(string_view(<const char*>token, len(token)), number)
        merged.vocabulary.index_tokens()
        for left, right, priority, number in plan.pairs:
            pairs.push_back(Pair(left, right, priority, number))
        merged.vocabulary.index_pairs(pairs, True)
        for priority in plan.order:
            merged.order.push_back(priority)
        merged.halves_vary = plan.halves_vary
        for is_unused, halves in zip(plan.unused, plan.halves):
            merged.unused.push_back(is_unused)
            merged.halves.push_back(pair[uint32_t, uint32_t](halves[0], halves[1]))
        user_defined = user_defined_of(
            [(text, number) for number, (text, id) in enumerate(plan.tokens) if id in model.user_defined]
        )
        self.model.reset(
            <Model*>new MergedPiecesModel(shared, user_defined, unknown_rules(model), cuts.reads_blanks)
        )
        return 0

    cdef bint _can_locate(self):
        """Whether tokens are located where text is encoded; if not, steps are done in Python, with places."""
        if self.normalizes or not self.keeps_places or not self.splitter.is_compiled():
            return False
        return not self.splitter.steps or (<const CppTextSteps*>self.splitter.steps.get()).knows_places

    cdef SizesOfTokens _sizes_of_tokens(self):
        cdef SizesOfTokens known
        with cython.critical_section(self):
            known = self.sizes
        if known is None:
            known = SizesOfTokens()
            known.sizes = self.model.get().token_sizes()
            with cython.critical_section(self):
                self.sizes = known
        return known

    @property
    def _locates_between(self):
        """Whether `_locate_between` can be called."""
        return self._can_locate()

    def _locate_between(self, str text, Finder finder, dict id_of):
        """The ids of a text, and where their tokens stand, as lists; `finder`, if it is not None, finds tokens to take
        whole. None if it cannot."""
        cdef unique_ptr[Worker] worker
        cdef list ints = self.ints
        cdef TokenIds token_ids = None if finder is None else finder.ids_by(id_of)
        if token_ids is not None and ints and token_ids.highest >= len(ints):
            ints = token_ids.ints
        self._take_worker(worker)
        found = None
        if self._run_locating(text, finder, token_ids, deref(worker)):
            table = PySequence_Fast_ITEMS(ints) if ints else NULL
            found = (
                list_of_ids(table, deref(worker).out.data, deref(worker).out.size),
                list_of_located(deref(SHARED_SPANS), table, len(ints), deref(worker).spans),
            )
        self._put_back(worker)
        return found

    cdef bint _run_locating(self, str text, Finder finder, TokenIds token_ids, Worker& worker) except -1:
        """As `_run_between`, with the places of all tokens."""
        cdef SizesOfTokens known = self._sizes_of_tokens()
        cdef FoundToken found
        cdef size_t done = 0, size = PyUnicode_GET_LENGTH(text)
        cdef int width = 0 if PyUnicode_IS_ASCII(text) else PyUnicode_KIND(text)
        cdef const char* data = <const char*>PyUnicode_DATA(text)
        cdef bint is_token = False, has_finder = finder is not None
        cdef Span span
        with nogil:
            while not worker.lone_surrogate:
                if has_finder:
                    is_token = finder.find_in(data, size, width, done, found)
                if not is_token:
                    found.start = size
                if found.start > done:
                    worker.locate_text(
                        self.splitter, known.sizes, Text(data + (width or 1) * done, found.start - done, width), done
                    )
                if not is_token:
                    break
                worker.out.reserve(1)
                worker.out.data[worker.out.size] = token_ids.ids[found.token]
                worker.out.size += 1
                span.start, span.end = found.start, found.end
                worker.spans.push_back(span)
                done = found.end
        return not worker.lone_surrogate

    def locate(self, text):
        cdef unique_ptr[Worker] worker
        if type(text) is str and self._can_locate():
            self._take_worker(worker)
            if self._run_locating(text, None, None, deref(worker)):
                ids = np.empty(deref(worker).out.size, np.uint32)
                copy_into(ids, deref(worker).out)
                edges = np.empty((deref(worker).spans.size(), 2), np.uint32)
                copy_spans(edges, deref(worker).spans)
                self._put_back(worker)
                places = edges.astype(np.int64)
                return ids, places[:, 0].copy(), places[:, 1].copy()
            self._put_back(worker)
        return self._locate_with_places(text)

    def _locate_with_places(self, text):
        cdef unique_ptr[Worker] worker
        cdef vector[Span] spans
        cdef bytes encoded
        cdef string_view utf8
        normalized, places = self.normalize_with_places(arguments.check_text(text))
        encoded = normalized.encode()
        utf8 = string_view(<const char*>encoded, len(encoded))
        self._take_worker(worker)
        if self.splitter.is_compiled():
            self.splitter.find_starts(utf8, deref(worker).starts, deref(worker).split_scratch)
        else:
            self._find_starts_by_expressions(deref(worker), normalized, encoded)
        deref(worker).locate_pretokens(utf8, spans)
        ids = np.empty(deref(worker).out.size, np.uint32)
        copy_into(ids, deref(worker).out)
        self._put_back(worker)
        edges = np.empty((spans.size(), 2), np.uint32)
        copy_spans(edges, spans)
        return ids, *characters_of_spans(encoded, edges, places)


def keeps_characters(model):
    """Whether all that is written in tokens is what they stand for: see `CharacterRules`."""
    bytes_known = all(byte_token(byte) in model.vocabulary for byte in range(256))
    special = {model.unknown, *map(byte_token, range(256))}
    return (
        (model.unknown is not None or (model.byte_fallback and bytes_known))
        and not (model.prefix or model.suffix or model.ignore_merges)
        and not any(left in special or right in special or left + right in special for left, right in model.merges)
    )


cdef shared_ptr[Vocabulary] vocabulary_of(list items) except *:
    """Tokens, of str, with their ids, in this order."""
    cdef shared_ptr[Vocabulary] vocabulary = make_shared[Vocabulary]()
    cdef bytes token
    cdef uint32_t number
    for text, number in items:
        token = text.encode()
        deref(vocabulary).add_token(string_view(<const char*>token, len(token)), number)
    deref(vocabulary).index_tokens()
    return vocabulary


cdef shared_ptr[UserDefined] user_defined_of(list items) except *:
    """Pieces that are cut out first, with their numbers; null if there are none."""
    cdef shared_ptr[UserDefined] user_defined
    cdef bytes token
    cdef uint32_t number
    if items:
        user_defined = make_shared[UserDefined]()
        for text, number in items:
            token = text.encode()
            deref(user_defined).vocabulary.add_token(string_view(<const char*>token, len(token)), number)
        deref(user_defined).trie.build(deref(user_defined).vocabulary)
    return user_defined


cdef UnknownRules unknown_rules(model) except *:
    """What is written for what is no piece."""
    cdef UnknownRules rules
    cdef size_t byte
    rules.byte_fallback = model.byte_fallback
    rules.unknown = NO_TOKEN if model.unknown is None else model.unknown
    for byte in range(256):
        rules.bytes[byte] = model.vocabulary.get(byte_token(byte), NO_TOKEN)
    return rules


def in_order_of_ids(vocabulary):
    """The tokens of a vocabulary as `Encoder` numbers them."""
    return vocabulary if are_in_order(vocabulary) else sorted(vocabulary, key=vocabulary.get)


cdef int copy_spans(array, vector[Span]& spans) except -1:
    """Copy spans into a new array of uint32."""
    cdef Py_buffer view
    if spans.empty():  # without memory to copy from
        return 0
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    memcpy(view.buf, spans.data(), 8 * spans.size())
    PyBuffer_Release(&view)
    return 0


def characters_of_spans(bytes encoded, edges, places):
    """Where spans of bytes of UTF-8 begin and end, in the characters that its own come from.

    `places` has the place of each; None where they are the same.
    """
    begins = (np.frombuffer(encoded, np.int8) >= -64).cumsum(dtype=np.int64)  # all bytes but 0x80 to 0xBF
    first, last = begins[edges[:, 0]] - 1, begins[edges[:, 1] - 1] - 1
    if places is not None:
        first, last = places[first], places[last]
    return first, last + 1


cdef bint are_in_order(vocabulary):
    """Whether the ids rise, as they do in nearly every file."""
    cdef int64_t number, last = -1
    for number in vocabulary.values():
        if number <= last:
            return False
        last = number
    return True


cdef int copy_into(array, IdBuffer& out) except -1:
    """Copy ids into a new array of uint32; by the plain buffer, which makes no memoryview."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_SIMPLE)
    memcpy(view.buf, out.data, 4 * out.size)
    PyBuffer_Release(&view)
    return 0


cdef bint read_ints(list ids, vector[int64_t]& numbers) except -1:
    """Put `ids` into `numbers`; False if not all are ints of 64 bits."""
    cdef size_t i
    numbers.resize(len(ids))
    try:
        for i in range(numbers.size()):
            number = ids[i]
            if not isinstance(number, int):
                return False
            numbers[i] = number
    except OverflowError:
        return False
    return True


cdef int read_array(ids, vector[int64_t]& numbers) except -1:
    """Put an array of ids, of any integers, into `numbers`."""
    cdef Py_buffer view
    numbers.resize(ids.size)
    if numbers.empty():  # without memory to copy to
        return 0
    PyObject_GetBuffer(np.ascontiguousarray(ids, np.int64), &view, PyBUF_SIMPLE)
    memcpy(numbers.data(), view.buf, 8 * numbers.size())
    PyBuffer_Release(&view)
    return 0


def split_by_expressions(text, pattern):
    """The pre-tokens by a pattern that the standard `re` runs."""
    pretokens = [text]
    for expression, step in zip(pattern.expressions, pattern.steps):
        if isinstance(step, str):
            pretokens = [part for pretoken in pretokens for part in cut(expression, pretoken)]
        else:
            pretokens = [part for pretoken in pretokens for part in parts_of_step(expression, step, pretoken)]
    return pretokens


def cut(expression, text):
    """The matches of `expression` in `text` and the parts between them, none of them empty."""
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
