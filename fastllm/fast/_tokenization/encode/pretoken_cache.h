// PretokenCache: the ids of pre-tokens met before. One per worker, so that no look-up takes a lock.
//
// Algorithm. A hash table with open addressing over buckets of one cache line: two keys of 16 bytes (pretoken_key.h)
// and for each 16 bytes of ids and their number. So one line decides, and one comparison of 16 bytes. An id takes as
// many bits as the vocabulary asks for: seven ids of 16 bits fit, five of 24 or three of 32. A pre-token of more ids
// has them in an arena, and OVERFLOW_FLAG in its number. Pre-tokens of more than 15 bytes have a second table. Where
// a pre-token that is a token is never taken apart, the tokens themselves are put in to begin with.
//
//     buckets       +---------------+---------------+---------------+---------------+
//     (64 bytes)    |     key 0     |     key 1     |     ids 0     |     ids 1     |
//                   +---------------+---------------+---------------+---------------+
//     ids, 24 bits  | id | id | id | id | id | n |       n: number of ids
//     overflow      | offset |  ...  | n + 0x80 |        ->   arena [ ... | ids, filled up to 16 | ... ]
//
//     long_slots    { hash, where its bytes are, where its ids are }   ->   long_bytes, arena
//
// Invariants. At least one slot in eight is free, so probing ends. `reserve` is called before each chunk of text,
// never inside one: bucket numbers hold while a batch is under way. What is held stays below the cap and one chunk: a
// cache that would outgrow it is emptied. Ids in the arena are filled
// up to what is copied from there at once.
//
// Cost. A hit: one line. Seeding cl100k: 16 MB of buckets, in pages of 2 MB, since in pages of 4 KB encoding takes
// twice as long.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "encode/huge_pages.h"
#include "encode/vocabulary.h"
#include "pretoken_key.h"

namespace fastllm {

constexpr size_t OVERFLOW_FLAG = 0x80;       // in a number of ids: they are in the arena
constexpr size_t MAX_LONG_IN_CHUNK = 257;    // at most so many pre-tokens of 16 bytes or more start in 4 KB
constexpr size_t OVERFLOW_COPY = 16;         // ids that are copied from the arena at once, needed or not

// Ids of some bits each, one behind the other, and then their number.
struct alignas(16) InlineIds {
    uint8_t bytes[16];
};

constexpr size_t max_inline_ids(int id_bits) { return size_t(120 / id_bits); }
constexpr size_t count_byte(int id_bits) { return max_inline_ids(id_bits) * size_t(id_bits) / 8; }

struct alignas(64) CacheBucket {
    InlineKey keys[2];
    InlineIds ids[2];
};

struct LongSlot {
    uint64_t hash;
    uint32_t bytes, size;  // in `long_bytes`
    uint32_t ids, count;   // in `arena`
    bool used;
};

struct PretokenCache {
    HugePageVector<CacheBucket> buckets;
    size_t bucket_mask = 0, num_short = 0, initial_buckets = 0;
    HugePageVector<LongSlot> long_slots;
    size_t num_long = 0;
    std::vector<char> long_bytes;
    std::vector<uint32_t> arena;
    size_t max_bytes;
    const Vocabulary *vocabulary;
    bool seed_with_tokens;
    bool use_crc;  // for hashing keys: the processor has CRC-32
    int id_bits;   // 16, 24 or 32, of an inline id
    bool has_all_tokens = false;  // of up to MAX_INLINE_BYTES
    size_t evictions = 0;         // how often it was emptied

    PretokenCache(const Vocabulary *vocabulary, bool seed_with_tokens, bool use_crc, size_t max_bytes)
        : max_bytes(max_bytes), vocabulary(vocabulary), seed_with_tokens(seed_with_tokens), use_crc(use_crc) {
        const uint32_t highest = vocabulary->ids.empty() ? 0 : vocabulary->ids.back();  // they rise
        // Taking ids of 24 bits apart pays only where bytes can be shuffled.
        id_bits = highest < 1 << 16 ? 16 : highest < 1 << 24 && use_crc ? 24 : 32;
        // Room for the tokens and as many pre-tokens again, within half of the cap.
        initial_buckets = size_t(1) << 10;
        while (initial_buckets < 2 * vocabulary->ids.size() &&
               4 * initial_buckets * sizeof(CacheBucket) <= max_bytes) {
            initial_buckets *= 2;
        }
        evict_all();
    }
    PretokenCache(const PretokenCache &) = delete;
    PretokenCache &operator=(const PretokenCache &) = delete;

    size_t bytes_held() const {
        return buckets.size() * sizeof(CacheBucket) + long_slots.size() * sizeof(LongSlot) + long_bytes.size() +
               4 * arena.size();
    }

    // The number of the key's bucket. The hash counts in bytes of the table, as an offset needs it.
    size_t bucket_of(InlineKey key) const {
        return ((use_crc ? hash_by_crc(key) : hash_by_multiplying(key)) / sizeof(CacheBucket)) & bucket_mask;
    }

    void evict_all() {
        HugePageVector<CacheBucket>().swap(buckets);
        buckets.resize(initial_buckets);
        bucket_mask = initial_buckets - 1;
        num_short = num_long = 0;
        long_slots.assign(1 << 8, LongSlot{});
        long_bytes.clear();
        long_bytes.shrink_to_fit();
        arena.clear();
        arena.shrink_to_fit();
        evictions++;
        if (seed_with_tokens) add_tokens();
    }

    void add_tokens() {
        const size_t limit = initial_buckets / 2;  // a quarter of the slots: the rest is for other pre-tokens
        uint32_t t = 0;
        for (; t < vocabulary->ids.size() && num_short < limit; t++) {
            const std::string_view token = vocabulary->token(t);
            if (token.size() <= MAX_INLINE_BYTES) add_short(key_of(token), &vocabulary->ids[t], 1);
        }
        has_all_tokens = t == vocabulary->ids.size();
    }

    // Make room for the `count` pre-tokens of a chunk, should all be new; bucket numbers are void afterwards.
    void reserve(size_t count) {
        const bool doubles = 2 * (num_long + MAX_LONG_IN_CHUNK) > long_slots.size();
        const size_t more = doubles ? long_slots.size() * sizeof(LongSlot) : 0;
        if (bytes_held() + more + 64 * count > max_bytes) {
            evict_all();
        } else if (num_short + count > bucket_mask + 1) {
            if (bytes_held() + more + (bucket_mask + 1) * sizeof(CacheBucket) <= max_bytes) {
                grow();
            } else if (num_short + count > max_short()) {
                evict_all();
            }
        }
        while (num_short + count > max_short()) grow();  // the initial buckets may be fewer than a chunk asks for
    }

    // Seven slots of eight: a look-up ends at a free one.
    size_t max_short() const { return (bucket_mask + 1) * 7 / 4; }

    void grow() {
        const size_t count = bucket_mask + 1;
        HugePageVector<CacheBucket> old(2 * count);
        old.swap(buckets);
        bucket_mask = 2 * count - 1;
        for (size_t i = 0; i < count; i++) {
            for (int slot = 0; slot < 2; slot++) {
                if (old[i].keys[slot].high) insert(old[i].keys[slot], old[i].ids[slot]);
            }
        }
    }

    // Put an entry into the first free slot of its bucket or of those after it.
    void insert(InlineKey key, InlineIds ids) {
        for (size_t i = bucket_of(key);; i = (i + 1) & bucket_mask) {
            for (int slot = 0; slot < 2; slot++) {
                if (buckets[i].keys[slot].high == 0) {
                    buckets[i].keys[slot] = key;
                    buckets[i].ids[slot] = ids;
                    return;
                }
            }
        }
    }

    // ---- ids of a short pre-token

    InlineIds pack(const uint32_t *ids, size_t count) {
        InlineIds packed{};
        if (count > max_inline_ids(id_bits)) {
            const uint32_t offset = append_to_arena(ids, count, OVERFLOW_COPY);
            std::memcpy(packed.bytes, &offset, 4);
            count |= OVERFLOW_FLAG;
        } else {
            for (size_t i = 0; i < count; i++) {  // little-endian: the low bytes come first
                for (int b = 0; b < id_bits / 8; b++) packed.bytes[i * id_bits / 8 + b] = uint8_t(ids[i] >> 8 * b);
            }
        }
        packed.bytes[count_byte(id_bits)] = uint8_t(count);
        return packed;
    }

    // Write the ids to `out`, of which 16 may be written; returns their number. If that has OVERFLOW_FLAG in it,
    // `out` has the packed bits, and `copy_overflow` does the rest.
    size_t unpack(const InlineIds &packed, uint32_t *out) const {
        if (id_bits == 32) {
            std::memcpy(out, packed.bytes, 12);
        } else if (id_bits == 24) {
            for (int i = 0; i < 5; i++) {
                std::memcpy(out + i, packed.bytes + 3 * i, 4);
                out[i] &= 0xFFFFFF;
            }
        } else {
            uint16_t halves[8];
            std::memcpy(halves, packed.bytes, 16);
            for (int i = 0; i < 8; i++) out[i] = halves[i];
        }
        return packed.bytes[count_byte(id_bits)];
    }

    // Copy ids from the arena to `out`, which says where they are; returns their number.
    size_t copy_overflow(size_t count, uint32_t *out) const {
        const uint32_t offset = id_bits == 32 ? out[0] : out[0] | out[1] << id_bits;
        std::memcpy(out, arena.data() + offset, 4 * OVERFLOW_COPY);
        return count & ~OVERFLOW_FLAG;
    }

    // Keep ids, filled up to a multiple of `unit`; returns where they are.
    uint32_t append_to_arena(const uint32_t *ids, size_t count, size_t unit) {
        const size_t offset = arena.size();
        arena.insert(arena.end(), ids, ids + count);
        arena.resize(offset + (count + unit - 1) / unit * unit);
        return uint32_t(offset);
    }

    void add_short(InlineKey key, const uint32_t *ids, size_t count) {
        insert(key, pack(ids, count));
        num_short++;
    }

    // Write the ids of a short pre-token to `out`; false if it is not in the cache.
    bool find_short(InlineKey key, uint32_t *out, size_t &count) const {
        for (size_t i = bucket_of(key);; i = (i + 1) & bucket_mask) {
            for (int slot = 0; slot < 2; slot++) {
                const InlineKey &held = buckets[i].keys[slot];
                if (held.high == 0) return false;
                if (held.low != key.low || held.high != key.high) continue;
                count = unpack(buckets[i].ids[slot], out);
                if (count & OVERFLOW_FLAG) count = copy_overflow(count, out);
                return true;
            }
        }
    }

    // ---- long pre-tokens; `h` is the hash of their bytes

    size_t long_slot_of(std::string_view pretoken, uint64_t h) const {
        const size_t mask = long_slots.size() - 1;
        for (size_t i = h & mask;; i = (i + 1) & mask) {
            const LongSlot &slot = long_slots[i];
            if (!slot.used || (slot.hash == h && slot.size == pretoken.size() &&
                               std::memcmp(long_bytes.data() + slot.bytes, pretoken.data(), pretoken.size()) == 0)) {
                return i;
            }
        }
    }

    // Write the ids to `out`, up to three places more than there are: they are few, and a call of memcpy would take
    // longer.
    bool find_long(std::string_view pretoken, uint64_t h, uint32_t *out, size_t &count) const {
        const LongSlot &slot = long_slots[long_slot_of(pretoken, h)];
        if (!slot.used) return false;
        count = slot.count;
        for (size_t i = 0; i < count; i += 4) std::memcpy(out + i, arena.data() + slot.ids + i, 16);
        return true;
    }

    void add_long(std::string_view pretoken, uint64_t h, const uint32_t *ids, size_t count) {
        if (2 * (num_long + 1) > long_slots.size()) grow_long();
        long_slots[long_slot_of(pretoken, h)] = {h, uint32_t(long_bytes.size()), uint32_t(pretoken.size()),
                                                 append_to_arena(ids, count, 4), uint32_t(count), true};
        long_bytes.insert(long_bytes.end(), pretoken.begin(), pretoken.end());
        num_long++;
    }

    void grow_long() {
        HugePageVector<LongSlot> old(2 * long_slots.size());
        old.swap(long_slots);
        for (const LongSlot &slot : old) {
            if (!slot.used) continue;
            size_t i = slot.hash & (long_slots.size() - 1);
            while (long_slots[i].used) i = (i + 1) & (long_slots.size() - 1);
            long_slots[i] = slot;
        }
    }
};

}  // namespace fastllm
