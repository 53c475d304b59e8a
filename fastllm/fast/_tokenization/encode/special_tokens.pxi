"""Finding special tokens in text: `special_tokens.h` on the characters of a `str`, where they lie.

A `str` holds characters of one, two or four bytes each, whatever its widest needs; the search is compiled for all
three, so that no text is copied to be searched.
"""

cimport cython
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH, PyUnicode_KIND
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t
from libcpp.vector cimport vector
from libcpp cimport bool

from fastllm.checks import tokenization as arguments

cdef extern from "encode/special_tokens.h" namespace "fastllm" nogil:
    cdef struct FoundToken:
        size_t start
        size_t end
        int32_t token

    cdef cppclass TokenTrie:
        void add[C](const C* token, size_t size, int32_t number) except +
        bool find[C](const C* text, size_t size, size_t start, FoundToken& found)


cdef class TokenIds:
    """The ids of tokens, in their order. Nothing changes once it is made, so that any thread may read."""
    cdef dict id_of          # that they are from
    cdef vector[uint32_t] ids
    cdef int64_t highest
    cdef list ints           # ints[i] is i, up to the highest; empty where they would be too many

    def __cinit__(self, list tokens, dict id_of):
        numbers = [id_of[token] for token in tokens]
        self.id_of = id_of
        self.ids = numbers
        self.highest = max(numbers, default=-1)
        self.ints = list(range(self.highest + 1)) if self.highest < 1 << 22 else []


cdef class Finder:
    """The compiled half of `TokenFinder`: arguments are checked before they come here."""
    cdef TokenTrie trie
    cdef list tokens
    cdef TokenIds last_ids   # that were asked for

    def _set_up(self, list tokens):
        cdef int32_t number
        cdef str token
        self.tokens = tokens
        for number, token in enumerate(tokens):
            kind = PyUnicode_KIND(token)
            if kind == 1:
                self.trie.add(<const uint8_t*>PyUnicode_DATA(token), len(token), number)
            elif kind == 2:
                self.trie.add(<const uint16_t*>PyUnicode_DATA(token), len(token), number)
            else:
                self.trie.add(<const uint32_t*>PyUnicode_DATA(token), len(token), number)

    cdef TokenIds ids_by(self, dict id_of):
        """The ids that `id_of` gives the tokens. Tokenizers with the same tokens share a finder, on any thread."""
        cdef TokenIds ids
        with cython.critical_section(self):
            ids = self.last_ids
        if ids is None or ids.id_of is not id_of:
            ids = TokenIds(self.tokens, id_of)
            with cython.critical_section(self):
                self.last_ids = ids
        return ids

    cdef bint find_in(self, const char* data, size_t size, int width, size_t start, FoundToken& found) noexcept nogil:
        """Find the first token in characters of this width."""
        if width <= 1:
            return self.trie.find(<const uint8_t*>data, size, start, found)
        if width == 2:
            return self.trie.find(<const uint16_t*>data, size, start, found)
        return self.trie.find(<const uint32_t*>data, size, start, found)

    cdef bint _find(self, text, size_t start, FoundToken& found):
        data = <const char*>PyUnicode_DATA(text)
        return self.find_in(data, PyUnicode_GET_LENGTH(text), PyUnicode_KIND(text), start, found)

    def find(self, text):
        cdef FoundToken found
        if not isinstance(text, str):
            arguments.check_is_text(text)
        return self.tokens[found.token] if self._find(text, 0, found) else None

    def cut(self, text):
        cdef FoundToken found
        cdef size_t done = 0
        if not isinstance(text, str):
            arguments.check_is_text(text)
        cuts = []
        while self._find(text, done, found):
            cuts.append((text[done : found.start], self.tokens[found.token]))
            done = found.end
        cuts.append((text[done:] if done else text, None))
        return cuts
