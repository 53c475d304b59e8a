// Making and hashing an InlineKey (pretoken_key.h) from text. Included once per instruction set, inside its namespace.
//
// Invariants. 16 bytes can be read at the pre-token. One of more than 15 bytes gets the length 16, so its key equals
// no key in a table.
//
// Cost. Two loads of masks, no branch on the length: a batch of lengths is anything.

// byte i of keep[n]: whether byte i of a key belongs to a pre-token of n bytes.
struct KeyMasks {
    alignas(16) uint8_t keep[17][16];
    alignas(16) uint8_t length[17][16];
    constexpr KeyMasks() : keep{}, length{} {
        for (int n = 0; n <= 16; n++) {
            for (int i = 0; i < n && i < 15; i++) keep[n][i] = 0xFF;
            length[n][15] = uint8_t(n);
        }
    }
};
static constexpr KeyMasks key_masks{};

// Where the masks of a length are, in bytes: 16 times the length, which counts as 16 at most.
static inline uint32_t mask_offset(uint32_t length) { return (length < 16 ? length : 16) * 16; }

static inline InlineKey make_key(const uint8_t *pretoken, uint32_t mask_offset) {
    InlineKey key;
#if FASTLLM_SSE2
    const __m128i bytes = _mm_loadu_si128((const __m128i *)pretoken);
    const __m128i kept = _mm_and_si128(bytes, _mm_load_si128((const __m128i *)(key_masks.keep[0] + mask_offset)));
    _mm_store_si128((__m128i *)&key,
                    _mm_or_si128(kept, _mm_load_si128((const __m128i *)(key_masks.length[0] + mask_offset))));
#elif FASTLLM_ISA == FASTLLM_NEON
    const uint8x16_t kept = vandq_u8(vld1q_u8(pretoken), vld1q_u8(key_masks.keep[0] + mask_offset));
    vst1q_u8((uint8_t *)&key, vorrq_u8(kept, vld1q_u8(key_masks.length[0] + mask_offset)));
#else
    const uint8_t *const keep = key_masks.keep[mask_offset / 16], *const length = key_masks.length[mask_offset / 16];
    uint8_t bytes[16];
    for (int i = 0; i < 16; i++) bytes[i] = (pretoken[i] & keep[i]) | length[i];
    std::memcpy(&key, bytes, 16);
#endif
    return key;
}

static inline size_t hash_key(InlineKey key) {
#if FASTLLM_ISA >= 1 || FASTLLM_ISA == FASTLLM_NEON
    return size_t(FASTLLM_CRC(FASTLLM_CRC(0, key.low), key.high));
#else
    return hash_by_multiplying(key);
#endif
}
