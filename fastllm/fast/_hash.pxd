"""A hash of byte strings, for the tables of words and tokens."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy


cdef inline uint64_t hash_bytes(const char* data, size_t size) noexcept nogil:
    """Eight bytes at a time, each folded in by a multiplication (after Wang Yi's wyhash)."""
    cdef uint64_t h = size * <uint64_t>0x9E3779B97F4A7C15, word
    while size >= 8:
        memcpy(&word, data, 8)
        h = (h ^ word) * <uint64_t>0xBF58476D1CE4E5B9
        h ^= h >> 29
        data += 8
        size -= 8
    word = 0
    memcpy(&word, data, size)
    h = (h ^ word) * <uint64_t>0x94D049BB133111EB
    return h ^ h >> 32
