// 64 bytes in four vectors of NEON: what the kernels of that level share. Included once per kernels.h, inside its
// namespace.
//
// Vector k holds every fourth byte, from byte k on: so `vld4q_u8` reads 64 bytes in one instruction, and so their top
// bits become a mask in six, not nine. What bytes are compared with is the same in all places, so order matters only
// where a byte meets its neighbours: the byte before one of vector k is in vector k - 1, at the same place.

#if FASTLLM_ISA == FASTLLM_NEON

using Bytes = uint8x16x4_t;

static inline Bytes load64(const uint8_t *p) { return vld4q_u8(p); }

template <typename Map>
FASTLLM_INLINE Bytes each(const Bytes &x, Map map) {
    return {{map(x.val[0]), map(x.val[1]), map(x.val[2]), map(x.val[3])}};
}
template <typename Map>
FASTLLM_INLINE Bytes each(const Bytes &x, const Bytes &y, Map map) {
    return {{map(x.val[0], y.val[0]), map(x.val[1], y.val[1]), map(x.val[2], y.val[2]), map(x.val[3], y.val[3])}};
}

// Bit i: the top bit of byte i. Each shift puts the top bits of one vector below those of another.
static inline uint64_t top_bits(const Bytes &x) {
    const uint8x16_t low = vsriq_n_u8(x.val[1], x.val[0], 1), high = vsriq_n_u8(x.val[3], x.val[2], 1);
    const uint8x16_t four = vsriq_n_u8(high, low, 2), twice = vsriq_n_u8(four, four, 4);
    return vget_lane_u64(vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(twice), 4)), 0);
}

static inline Bytes filled(uint8_t byte) {
    const uint8x16_t all = vdupq_n_u8(byte);
    return {{all, all, all, all}};
}
static inline Bytes both(const Bytes &x, const Bytes &y) {
    return each(x, y, [](uint8x16_t a, uint8x16_t b) { return vandq_u8(a, b); });
}
static inline Bytes either(const Bytes &x, const Bytes &y) {
    return each(x, y, [](uint8x16_t a, uint8x16_t b) { return vorrq_u8(a, b); });
}
static inline Bytes bytes_equal(const Bytes &x, uint8_t byte) {
    return each(x, [&](uint8x16_t v) { return vceqq_u8(v, vdupq_n_u8(byte)); });
}
static inline Bytes bytes_at_least(const Bytes &x, uint8_t byte) {
    return each(x, [&](uint8x16_t v) { return vcgeq_u8(v, vdupq_n_u8(byte)); });
}
// Bytes from `first`, `count` of them.
static inline Bytes bytes_from(const Bytes &x, uint8_t first, int count) {
    return each(x, [&](uint8x16_t v) {
        return vcltq_u8(first ? vsubq_u8(v, vdupq_n_u8(first)) : v, vdupq_n_u8(uint8_t(count)));
    });
}
static inline uint64_t equal(const Bytes &x, uint8_t byte) { return top_bits(bytes_equal(x, byte)); }
static inline uint64_t at_least(const Bytes &x, uint8_t byte) { return top_bits(bytes_at_least(x, byte)); }

#endif
