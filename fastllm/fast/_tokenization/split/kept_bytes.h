// A text without the parts that steps of a pattern remove. Included once per instruction set, inside its namespace.
//
// Algorithm. A mask of the bytes that are removed, 64 at a time: each part reaches from its start to the next. Adding the
// place behind a start to the bytes that are none carries through all of them.
//
//     text      w  o  r  d  _  _  x        starts    1  .  .  .  1  .  1
//     removed   .  .  .  .  1  .  .        gone      .  .  .  .  1  1  .
//
// What is left is gathered by one compress of 64 bytes, or run by run.

// Write what is left of `text` to `kept`, and a bit for each start in it to `left`, which is clear; returns its size.
// 64 bytes more may be written, and one word of `left`.
static size_t leave_out(std::string_view text, const uint64_t *starts, const uint64_t *removed, char *kept,
                        uint64_t *left) {
    size_t size = 0;
    uint64_t goes_on = 0;  // whether the removed part before a block does
    const auto keep_starts = [&](uint64_t bits) {
        left[size >> 6] |= bits << (size & 63);
        if (size & 63) left[(size >> 6) + 1] |= bits >> (64 - (size & 63));
    };
    for (size_t block = 0; block < text.size(); block += 64) {
        const uint64_t here = starts[block >> 6], others = ~here, gone_from = removed[block >> 6] & here;
        const uint64_t gone = gone_from | (others & ~((gone_from << 1 | goes_on) + others));
        goes_on = gone >> 63;
        const size_t room = text.size() - block;
        const uint64_t valid = room < 64 ? (uint64_t(1) << room) - 1 : ~uint64_t(0), keep = ~gone & valid;
        const char *const data = text.data() + block;
#if FASTLLM_ISA == 2
        const __m512i bytes = _mm512_maskz_loadu_epi8(valid, data);
        _mm512_storeu_si512(kept + size, _mm512_maskz_compress_epi8(keep, bytes));
        keep_starts(_pext_u64(here, keep));
        size += size_t(popcount(keep));
#else
        for (uint64_t more = keep; more;) {
            const int first = countr_zero(more);
            const uint64_t run = ~(more >> first);
            const int count = run ? countr_zero(run) : 64;
            const uint64_t mask = count < 64 ? (uint64_t(1) << count) - 1 : ~uint64_t(0);
            keep_starts(here >> first & mask);
            if (room >= 64 + 16) {
                for (int i = 0; i < count; i += 16) std::memcpy(kept + size + i, data + first + i, 16);
            } else {
                std::memcpy(kept + size, data + first, size_t(count));
            }
            size += size_t(count);
            more &= ~(mask << first);
        }
#endif
    }
    return size;
}
