from libc.stdint cimport uint64_t
from libcpp.string_view cimport string_view
from libcpp.vector cimport vector

cdef extern from "characters.h" namespace "fastllm" nogil:
    enum Family:
        REGEX  # not a named pattern: the standard `re` cuts it
        GPT2
        CL100K
        LLAMA3
        QWEN2
        NANOCHAT
        O200K
        DEEPSEEK_V3
        SMOLLM2

    cdef struct Scan:
        Family family
        Py_ssize_t segment_end

cdef Family family_of(object name) except *
cdef Py_ssize_t next_end(Scan* scan, string_view text, Py_ssize_t start) noexcept nogil
cdef void find_pieces(
    Family family, string_view text, uint64_t* starts, vector[size_t]& doubtful
) noexcept nogil
