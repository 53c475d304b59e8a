"""Normalizing text as BERT does: what is made of each character in Python, and run in C++ (bert_table.h)."""

from libc.stdint cimport int64_t, uint32_t
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libcpp.memory cimport shared_ptr
from libcpp.string_view cimport string_view
from libcpp.vector cimport vector

cdef extern from "normalize/bert_table.h" namespace "fastllm" nogil:
    cdef cppclass NormalizedText:
        vector[char] bytes
        vector[int64_t] places

    cdef cppclass CppBertTable "fastllm::BertTable":
        CppBertTable() except +
        void set_chinese(uint32_t first, uint32_t last)
        void set_removed(uint32_t first, uint32_t last)
        void set_starting_mark(uint32_t)
        void set_hangul()
        void set_made(uint32_t code_point, uint32_t count)
        void add_made(uint32_t code_point, uint32_t word_class, uint32_t combining) except +
        void finish() except +
        void apply(string_view, NormalizedText&) except +


cdef class BertTable:
    """What BERT's normalizer makes of each character.

    `made` has characters, and for each those that it becomes: code point, class, combining class. Runs are first,
    last, first ...
    """
    cdef shared_ptr[CppBertTable] table

    def __init__(self, made, *, removed, marks, starting_marks, chinese, bint hangul):
        self.table = shared_ptr[CppBertTable](new CppBertTable())
        table = self.table.get()
        for first, last in zip(chinese[::2], chinese[1::2]):
            table.set_chinese(first, last)
        if hangul:
            table.set_hangul()
        for code_point, characters in made.items():
            table.set_made(code_point, len(characters))
            for character, word_class, combining in characters:
                table.add_made(character, word_class, combining)
        for code_point in marks:
            table.set_removed(code_point, code_point)
        for code_point in starting_marks:
            table.set_starting_mark(code_point)
        for first, last in zip(removed[::2], removed[1::2]):
            table.set_removed(first, last)
        table.finish()

    def normalize(self, str text):
        """What a text without surrogates becomes."""
        cdef NormalizedText normalized
        self._apply(text, normalized)
        return PyUnicode_DecodeUTF8(normalized.bytes.data(), normalized.bytes.size(), NULL)

    def places(self, str text):
        """From which character of the text each character of what it becomes is made, as int64."""
        cdef NormalizedText normalized
        self._apply(text, normalized)
        return PyBytes_FromStringAndSize(<const char*>normalized.places.data(), 8 * normalized.places.size())

    cdef int _apply(self, str text, NormalizedText& normalized) except -1:
        cdef bytes encoded = text.encode()
        self.table.get().apply(string_view(<const char*>encoded, len(encoded)), normalized)
        return 0
