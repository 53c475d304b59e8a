from libc.stdint cimport uint32_t, uint64_t
from libcpp.string_view cimport string_view
from libcpp.vector cimport vector

cdef extern from "split/characters.h" namespace "fastllm" nogil:
    enum Rules:
        REGEX  # no scanner: the standard `re` cuts
        GPT2
        SMOLLM2
        CL100K
        LLAMA3
        QWEN3_5
        O200K
        TEKKEN
        DEEPSEEK_V3

    cdef cppclass Family:
        Rules rules
        uint32_t digits
        bint operator==(Rules)

    cdef struct Scan:
        Family family
        Py_ssize_t segment_end

cdef Family family_of(object pattern) except *
cdef Py_ssize_t next_end(Scan* scan, string_view text, Py_ssize_t start) noexcept nogil
cdef void find_pieces(
    Family family, string_view text, uint64_t* starts, vector[size_t]& doubtful
) noexcept nogil
cdef size_t find_cut(Family family, string_view text, size_t start) noexcept nogil
