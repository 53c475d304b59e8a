"""Training: the overview. C++ headers beside this file do the work on bytes.

Text goes through two stages. A `WordTable` counts the distinct pre-tokens of texts (word_counter.h, with count_words.h
and word_table.h), one table for each thread, added up at the end. A `Trainer` lays the words of a table out
(word_layout.h) and learns merges on them (merge_learner.h, with pair_table.h and pair_queue.h). The interpreter is
released in all of it, and what takes long looks at a flag that another thread can set.

Options are checked before, in `api/tokenization.py` with `checks/tokenization.py`; what comes out are bytes and tuples.
"""

from array import array

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libcpp cimport bool as cbool
from libcpp.string cimport string
from libcpp.string_view cimport string_view
from libcpp.unordered_map cimport unordered_map
from libcpp.vector cimport vector

from fastllm.checks import tokenization as arguments

cdef extern from * nogil:
    """
    #include "train/merge_learner.h"
    #include "train/word_counter.h"
    namespace fastllm {
    // The words of a table as they come, for Python to make objects of.
    struct TableWords {
        std::vector<std::string_view> words;
        std::vector<uint64_t> counts, firsts;
        explicit TableWords(const WordTable &table) {
            table.for_each([&](std::string_view word, uint64_t count, uint64_t first) {
                words.push_back(word);
                counts.push_back(count);
                firsts.push_back(first);
                return true;
            });
        }
    };
    }
    """
    cdef cppclass NativeTable "fastllm::WordTable":
        NativeTable(bint ordered, bint use_crc) except +
        uint64_t pretokens
        uint64_t bytes
        size_t size()
        size_t bytes_held()
        bint ordered()
        void add(string_view, uint64_t count, uint64_t first) except +
        void add_table(NativeTable&) except +

    cdef cppclass TableWords "fastllm::TableWords":
        TableWords(NativeTable&) except +
        vector[string_view] words
        vector[uint64_t] counts
        vector[uint64_t] firsts

    cdef cppclass WordCounter "fastllm::WordCounter":
        WordCounter(Splitter) except +
        bint is_utf8(string_view)
        void count_text(NativeTable&, string_view, uint64_t order) except +
        void count_lines(NativeTable&, string_view, uint64_t order) except +

    cdef cppclass TrainingOptions "fastllm::TrainingOptions":
        bint first_seen
        int64_t min_frequency
        uint64_t max_token_bytes
        uint64_t num_merges
        uint32_t first_byte
        uint32_t id_of_byte[256]
        vector[uint32_t] token_lengths
        unordered_map[string, uint32_t] existing_ids
        bint skip_existing

    cdef cppclass LearnedMerge "fastllm::LearnedMerge":
        uint32_t left
        uint32_t right
        uint32_t token
        int64_t count
        int64_t merged

    cdef cppclass LearnedMerges "fastllm::PageArray<fastllm::LearnedMerge>":
        LearnedMerge& operator[](size_t)
        size_t size()

    cdef cppclass Flag "std::atomic<bool>":
        void store(cbool)

    cdef cppclass Progress "std::atomic<uint64_t>":
        uint64_t load()

    cdef cppclass Learner "fastllm::Learner":
        LearnedMerges learned
        Progress progress
        Flag stop
        uint64_t distinct_pairs
        uint64_t words
        uint64_t weighted_symbols
        bint finished
        bint begin(NativeTable&, bint keep, const vector[uint32_t]* ids, const vector[uint64_t]* offsets) except +
        void learn(uint64_t) except +
        void release_memory() except +
        size_t bytes_held()

    Learner* new_learner "fastllm::new_learner"(TrainingOptions&, vector[string]&) except +


cdef class WordTable:
    """How often each distinct word occurs.

    `pattern` is a `SplitPattern` with a scanner, or the name of one, if texts are to be split. With `ordered` words
    keep the order of first appearance, by the numbers that come with texts.
    """
    cdef NativeTable* native
    cdef WordCounter* counter
    cdef uint64_t next_number  # for words that come without text

    def __cinit__(self, pattern=None, bint ordered=True):
        cdef int isa = isa_number()
        self.native = new NativeTable(ordered, isa > 0)
        self.counter = new WordCounter(splitter_of(pattern, isa))
        self.next_number = <uint64_t>1 << 63

    def __dealloc__(self):
        del self.native
        del self.counter

    def add(self, bytes word, count):
        """Count one word that occurs `count` times, behind all others in order."""
        cdef uint64_t times = count
        self.native.add(string_view(<const char*>word, len(word)), times, self.next_number)
        self.next_number += 1
        self.native.pretokens += times
        self.native.bytes += times * <uint64_t>len(word)

    def add_words(self, list words, uint64_t number):
        """Count words of one occurrence each; `number` says where they stand among all texts."""
        cdef string_view word
        for pretoken in words:
            word = utf8_view(pretoken)
            self.native.add(word, 1, number)
            self.native.pretokens += 1
            self.native.bytes += word.size()
            number += 1

    def add_texts(self, list texts, uint64_t number):
        """Count the words of each text."""
        cdef vector[string_view] views
        cdef list kept = []
        for text in texts:
            if not isinstance(text, str) or not text.isascii():
                text = arguments.check_text(text, "each text").encode()
                kept.append(text)
                views.push_back(string_view(<const char*>(<bytes>text), len(<bytes>text)))
            else:
                views.push_back(utf8_view(text))
        with nogil:
            for view in views:
                self.counter.count_text(self.native[0], view, number)
                number += view.size()

    def add_block(self, const uint8_t[::1] block, uint64_t number, bint lines):
        """Count the words of a text, or of each line of it; False, and nothing counted, if it is not UTF-8."""
        cdef string_view view
        cdef bint valid
        if block.shape[0] == 0:
            return True
        view = string_view(<const char*>&block[0], block.shape[0])
        with nogil:
            valid = self.counter.is_utf8(view)
            if valid and lines:
                self.counter.count_lines(self.native[0], view, number)
            elif valid:
                self.counter.count_text(self.native[0], view, number)
        return valid

    def add_table(self, WordTable other):
        """Count all that another table has counted, under the same numbers."""
        with nogil:
            self.native.add_table(other.native[0])

    def words(self):
        """The words, in the order of the table."""
        cdef TableWords* found = new TableWords(self.native[0])
        try:
            return [<bytes>word.data()[: word.size()] for word in found.words]
        finally:
            del found

    def items(self):
        """The words and their counts, in order of first appearance where the table keeps it."""
        cdef TableWords* found = new TableWords(self.native[0])
        try:
            order = range(found.words.size())
            if self.native.ordered():
                order = sorted(order, key=[first for first in found.firsts].__getitem__)
            return [(<bytes>found.words[i].data()[: found.words[i].size()], found.counts[i]) for i in order]
        finally:
            del found

    @property
    def ordered(self):
        """Whether words keep the order of first appearance."""
        return self.native.ordered()

    @property
    def total(self):
        """How many words were counted, repetitions included."""
        return self.native.pretokens

    @property
    def text_bytes(self):
        """How many bytes they have together."""
        return self.native.bytes

    @property
    def bytes_held(self):
        """The memory of the table."""
        return self.native.bytes_held()

    def __len__(self):
        return self.native.size()


cdef string_view utf8_view(str text) except *:
    """The UTF-8 of a text; it lives as long as the text does."""
    cdef Py_ssize_t size
    cdef const char* data = PyUnicode_AsUTF8AndSize(text, &size)
    return string_view(data, size)


cdef class Trainer:
    """Learns merges from the words of a table.

    Parameters
    ----------
    start : StartingVocabulary
    settings : checks.tokenization.TrainingOptions
    """
    cdef Learner* native
    cdef list tokens

    def __cinit__(self, start, settings):
        cdef TrainingOptions options
        cdef vector[string] names
        cdef bytes token
        cdef uint32_t i
        cdef list tokens = start.tokens
        options.first_seen = settings.tie_break == "first-seen"
        options.min_frequency = min(settings.min_frequency, 2**63 - 1)
        options.max_token_bytes = min(settings.max_token_bytes, 2**63 - 1)
        options.num_merges = settings.num_merges
        options.first_byte = start.first_byte
        options.skip_existing = start.skip_existing
        for token in tokens:
            options.token_lengths.push_back(len(token))
            names.push_back(token)
        for i in range(256):
            options.id_of_byte[i] = 0
        for i in range(options.first_byte, min(options.first_byte + 256, len(tokens))):
            token = tokens[i]
            options.id_of_byte[token[0]] = i
        for token, number in start.existing_ids.items():
            options.existing_ids[token] = number
        self.tokens = list(tokens)
        self.native = new_learner(options, names)

    def __dealloc__(self):
        del self.native

    def begin(self, WordTable table, bint keep_table, words=None):
        """Take the words of a table, which is emptied unless `keep_table`; False if it was stopped.

        `words` holds the ids of each word, in the order of the table, if they are not those of its bytes.
        """
        cdef vector[uint32_t] ids
        cdef vector[uint64_t] offsets
        cdef bint done
        if words is not None:
            offsets.push_back(0)
            for word in words:
                for number in word:
                    ids.push_back(number)
                offsets.push_back(ids.size())
        with nogil:
            if offsets.empty():
                done = self.native.begin(table.native[0], keep_table, NULL, NULL)
            else:
                done = self.native.begin(table.native[0], keep_table, &ids, &offsets)
        return done

    def learn(self, uint64_t most):
        """Learn up to `most` merges; fewer if stopped, or if nothing is left to merge."""
        with nogil:
            self.native.learn(most)

    def stop(self):
        """Let a call that runs in another thread return soon."""
        self.native.stop.store(True)

    def forget(self):
        """Give back all memory but that of what was learned; nothing more can be learned then."""
        self.native.release_memory()

    @property
    def made(self):
        """How many tokens were made so far."""
        return self.native.progress.load()

    @property
    def finished(self):
        """Whether nothing is left to merge."""
        return self.native.finished

    def merges(self):
        """The merges learned so far, in order, and the tokens that they make, which are parts of later merges."""
        cdef size_t i, size = self.native.learned.size()
        cdef list merges = [None] * <Py_ssize_t>size, made = [None] * <Py_ssize_t>size  # growing would leave holes where they were
        cdef LearnedMerge merge
        cdef bytes token
        for i in range(size):
            merge = self.native.learned[i]
            left, right = self.tokens[merge.left], self.tokens[merge.right]
            token = left + right
            if merge.token < <uint32_t>len(self.tokens):
                self.tokens[merge.token] = token
            else:
                self.tokens.append(token)
            merges[i] = left, right
            made[i] = token
        return merges, made

    def counts(self):
        """For each merge how often its pair occurred; and how often each was merged."""
        cdef size_t i, size = self.native.learned.size()
        counts, merged = array("q", [0]) * size, array("q", [0]) * size
        cdef int64_t[:] counts_view = counts, merged_view = merged
        for i in range(size):
            counts_view[i] = self.native.learned[i].count
            merged_view[i] = self.native.learned[i].merged
        return counts, merged

    @property
    def facts(self):
        """What a report tells: distinct words, pairs ever counted, symbols before the first merge, memory."""
        return {
            "words": self.native.words,
            "pairs": self.native.distinct_pairs,
            "symbols": self.native.weighted_symbols,
            "bytes_held": self.native.bytes_held(),
        }
