cdef extern from "encode/vocabulary.h" namespace "fastllm" nogil:
    unsigned long long hash_bytes(const char* data, size_t size)
