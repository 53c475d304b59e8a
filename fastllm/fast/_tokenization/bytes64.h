// Bytes64: 64 bytes of text, of which masks say where a byte is. Included once per instruction set, inside its
// namespace, by each kernels.h that wants it.
//
// Invariants. Nothing behind `count` bytes is read; what is missing is 0.

#if FASTLLM_ISA == 2
struct Bytes64 {
    __m512i bytes;
    Bytes64(const char *data, size_t count)
        : bytes(_mm512_maskz_loadu_epi8(count >= 64 ? ~uint64_t(0) : (uint64_t(1) << count) - 1, data)) {}
    uint64_t equal(uint8_t byte) const { return _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(char(byte))); }
    uint64_t within(uint8_t first, uint8_t last) const {
        return _mm512_cmple_epu8_mask(_mm512_sub_epi8(bytes, _mm512_set1_epi8(char(first))),
                                      _mm512_set1_epi8(char(last - first)));
    }
    uint64_t not_ascii() const { return _mm512_movepi8_mask(bytes); }
};
#else
struct Bytes64 {
    uint8_t bytes[64];
    Bytes64(const char *data, size_t count) {
        if (count < 64) std::memset(bytes, 0, 64);
        std::memcpy(bytes, data, count < 64 ? count : 64);
    }
#if FASTLLM_ISA == 1
    template <typename Test>
    uint64_t mask(Test test) const {
        const auto half = [&](int at) {
            return uint64_t(uint32_t(_mm256_movemask_epi8(test(_mm256_loadu_si256((const __m256i *)(bytes + at))))));
        };
        return half(0) | half(32) << 32;
    }
    uint64_t equal(uint8_t byte) const {
        return mask([&](__m256i v) { return _mm256_cmpeq_epi8(v, _mm256_set1_epi8(char(byte))); });
    }
    uint64_t within(uint8_t first, uint8_t last) const {
        return mask([&](__m256i v) {
            const __m256i above = _mm256_sub_epi8(v, _mm256_set1_epi8(char(first)));
            return _mm256_cmpeq_epi8(_mm256_min_epu8(above, _mm256_set1_epi8(char(last - first))), above);
        });
    }
    uint64_t not_ascii() const {
        return mask([](__m256i v) { return v; });
    }
#elif FASTLLM_ISA == FASTLLM_NEON
    uint64_t equal(uint8_t byte) const { return top_bits(bytes_equal(load64(bytes), byte)); }
    uint64_t within(uint8_t first, uint8_t last) const {
        return top_bits(bytes_from(load64(bytes), first, last - first + 1));
    }
    uint64_t not_ascii() const { return top_bits(load64(bytes)); }
#elif FASTLLM_SSE2
    template <typename Test>
    uint64_t mask(Test test) const {
        uint64_t all = 0;
        for (int at = 0; at < 64; at += 16) {
            const __m128i v = _mm_loadu_si128((const __m128i *)(bytes + at));
            all |= uint64_t(uint32_t(_mm_movemask_epi8(test(v)))) << at;
        }
        return all;
    }
    uint64_t equal(uint8_t byte) const {
        return mask([&](__m128i v) { return _mm_cmpeq_epi8(v, _mm_set1_epi8(char(byte))); });
    }
    uint64_t within(uint8_t first, uint8_t last) const {
        return mask([&](__m128i v) {
            const __m128i above = _mm_sub_epi8(v, _mm_set1_epi8(char(first)));
            return _mm_cmpeq_epi8(_mm_min_epu8(above, _mm_set1_epi8(char(last - first))), above);
        });
    }
    uint64_t not_ascii() const {
        return mask([](__m128i v) { return v; });
    }
#else
    template <typename Test>
    uint64_t mask(Test test) const {
        uint64_t all = 0;
        for (int i = 0; i < 64; i++) all |= uint64_t(test(bytes[i])) << i;
        return all;
    }
    uint64_t equal(uint8_t byte) const {
        return mask([&](uint8_t b) { return b == byte; });
    }
    uint64_t within(uint8_t first, uint8_t last) const {
        return mask([&](uint8_t b) { return uint8_t(b - first) <= last - first; });
    }
    uint64_t not_ascii() const {
        return mask([](uint8_t b) { return b >= 0x80; });
    }
#endif
};
#endif
