// Word cache: pieces met before and their ids. One per worker, so that no look-up takes a lock.
//
// Algorithm. Pieces of up to 15 bytes, nearly all of them, live in lines of 64 bytes: two keys of 16 bytes (the
// piece, zeros, its length in the last byte), then for each 16 bytes of ids and their number. So one cache
// line decides, and one comparison of 16 bytes. An id takes as many bits as the vocabulary asks for: seven ids of 16
// bits fit, five of 24 or three of 32. A piece of more ids has them in an arena, and MANY in its number. Longer
// pieces have a table of their own, {hash, place of the bytes, place of the ids}. Both are open-addressed and at
// most half full.
//
// Where a piece that is a token is never taken apart, the tokens themselves are put in to begin with.
//
// Invariants. `reserve` is called before each chunk of text, never inside one: line numbers stay valid while a
// batch is under way. What is held stays below the cap and one chunk: a cache that would outgrow it is emptied.
//
// Cost. Seeding cl100k: 16 MB of lines. A hit: one line.
//
// Tried (English, 16 MB, cl100k, AVX-512, ids not copied out): lines in pages of 4 KB 237 MB/s, in pages of 2 MB
// 490 MB/s.

#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "encode/huge_pages.h"
#include "isa.h"
#include "encode/vocabulary.h"

namespace fastllm {

struct alignas(16) Key {
    uint64_t low, high;
};

constexpr size_t SHORT = 15;                // bytes of a piece that a key holds
constexpr size_t LONG_IN_CHUNK = 257;       // at most so many pieces of more bytes start in 4 KB
constexpr uint64_t LENGTH = uint64_t(1) << 56;  // one, in the last byte of a key
constexpr size_t MANY = 0x80;               // in a number of ids: they are in the arena

// Ids of some bits each, one behind the other, and then their number.
struct alignas(16) Value {
    uint8_t bytes[16];
};

// How many ids of so many bits a value holds.
constexpr size_t ids_in_value(int bits) { return size_t(120 / bits); }
constexpr size_t byte_of_count(int bits) { return ids_in_value(bits) * size_t(bits) / 8; }

struct alignas(64) Line {
    Key keys[2];
    Value values[2];
};

struct LongWord {
    uint64_t hash;
    uint32_t bytes, size;   // in `bytes`
    uint32_t ids, count;    // in `ids`
    bool used;
};

// One multiplication of both halves; the high half of the product is folded onto the low one (after wyhash).
inline size_t hash_by_multiplying(Key key) {
    const unsigned __int128 product =
        (unsigned __int128)(key.low ^ 0x9E3779B97F4A7C15u) * (key.high ^ 0xC2B2AE3D27D4EB4Fu);
    return size_t(product) ^ size_t(product >> 64);
}

#if FASTLLM_DISPATCH
__attribute__((target("sse4.2"))) inline size_t hash_by_crc(Key key) {
    return size_t(_mm_crc32_u64(_mm_crc32_u64(0, key.low), key.high));
}
#else
inline size_t hash_by_crc(Key key) { return hash_by_multiplying(key); }
#endif

struct WordCache {
    Table<Line> lines;
    size_t line_mask = 0, used = 0, first_lines = 0;
    Table<LongWord> long_words;
    size_t long_used = 0;
    std::vector<char> bytes;
    std::vector<uint32_t> ids;  // of a short piece filled up to 16, of a long one to a multiple of four
    size_t cap;
    const Vocabulary *vocabulary;
    bool seeded;
    bool crc;     // keys are hashed by the processor's CRC-32, from AVX2 on
    int id_bits;  // 16, 24 or 32, of an id in a value
    bool has_all_tokens = false;  // of up to SHORT bytes
    size_t wipes = 0;

    WordCache(const Vocabulary *vocabulary, bool seeded, bool crc, size_t cap)
        : cap(cap), vocabulary(vocabulary), seeded(seeded), crc(crc) {
        const uint32_t highest = vocabulary->ids.empty() ? 0 : vocabulary->ids.back();  // they rise
        // Taking ids of 24 bits apart pays only where bytes can be shuffled.
        id_bits = highest < 1 << 16 ? 16 : highest < 1 << 24 && crc ? 24 : 32;
        // Room for the tokens and as many words again, within half of the cap.
        first_lines = size_t(1) << 10;
        while (first_lines < 2 * vocabulary->ids.size() && 4 * first_lines * sizeof(Line) <= cap) {
            first_lines *= 2;
        }
        wipe();
    }
    WordCache(const WordCache &) = delete;
    WordCache &operator=(const WordCache &) = delete;

    size_t bytes_held() const {
        return lines.size() * sizeof(Line) + long_words.size() * sizeof(LongWord) + bytes.size() +
               4 * ids.size();
    }

    static Key key_of(std::string_view word) {
        Key key{0, 0};
        std::memcpy(&key, word.data(), word.size());
        key.high |= word.size() * LENGTH;
        return key;
    }

    // The place of the key's line: a multiple of the size of a line, as an offset in bytes needs it.
    size_t line_of(Key key) const {
        return ((crc ? hash_by_crc(key) : hash_by_multiplying(key)) / sizeof(Line)) & line_mask;
    }

    void wipe() {
        Table<Line>().swap(lines);
        lines.resize(first_lines);
        line_mask = first_lines - 1;
        used = long_used = 0;
        long_words.assign(1 << 8, LongWord{});
        bytes.clear();
        bytes.shrink_to_fit();
        ids.clear();
        ids.shrink_to_fit();
        wipes++;
        if (!seeded) return;
        const size_t most = first_lines / 2;  // a quarter of the places: the rest is for words
        uint32_t t = 0;
        for (; t < vocabulary->ids.size() && used < most; t++) {
            const std::string_view word = vocabulary->token(t);
            if (word.size() <= SHORT) add_short(key_of(word), &vocabulary->ids[t], 1);
        }
        has_all_tokens = t == vocabulary->ids.size();
    }

    // Make room for the `words` pieces of a chunk, should all be new; line numbers are void afterwards.
    void reserve(size_t words) {
        const bool doubles = 2 * (long_used + LONG_IN_CHUNK) > long_words.size();
        const size_t more = doubles ? long_words.size() * sizeof(LongWord) : 0;
        if (bytes_held() + more + 64 * words > cap) {
            wipe();
        } else if (used + words > line_mask + 1) {
            if (bytes_held() + more + (line_mask + 1) * sizeof(Line) <= cap) {
                grow();
            } else if (used + words > most_used()) {
                wipe();
            }
        }
        while (used + words > most_used()) grow();  // the first lines may be fewer than a chunk asks for
    }

    // Seven places of eight: a look-up ends at a free one.
    size_t most_used() const { return (line_mask + 1) * 7 / 4; }

    void grow() {
        const size_t count = line_mask + 1;
        Table<Line> old(2 * count);
        old.swap(lines);
        line_mask = 2 * count - 1;
        for (size_t i = 0; i < count; i++) {
            for (int side = 0; side < 2; side++) {
                if (old[i].keys[side].high) place(old[i].keys[side], old[i].values[side]);
            }
        }
    }

    // Put an entry in the first free place of its line or of those after it.
    void place(Key key, Value value) {
        for (size_t i = line_of(key);; i = (i + 1) & line_mask) {
            for (int side = 0; side < 2; side++) {
                if (lines[i].keys[side].high == 0) {
                    lines[i].keys[side] = key;
                    lines[i].values[side] = value;
                    return;
                }
            }
        }
    }

    Value pack(const uint32_t *word_ids, size_t count) {
        Value value{};
        if (count > ids_in_value(id_bits)) {
            const uint32_t start = keep(word_ids, count, 16);
            std::memcpy(value.bytes, &start, 4);
            count |= MANY;
        } else {
            for (size_t i = 0; i < count; i++) {  // little-endian: the low bytes come first
                for (int b = 0; b < id_bits / 8; b++) value.bytes[i * id_bits / 8 + b] = uint8_t(word_ids[i] >> 8 * b);
            }
        }
        value.bytes[byte_of_count(id_bits)] = uint8_t(count);
        return value;
    }

    // The ids of a value in the first places of `out`, of which 16 may be written; returns their number, which may have
    // MANY in it: `out` then has the bits of the value, and `copy_many` does the rest.
    size_t unpack(const Value &value, uint32_t *out) const {
        if (id_bits == 32) {
            std::memcpy(out, value.bytes, 12);
        } else if (id_bits == 24) {
            for (int i = 0; i < 5; i++) {
                std::memcpy(out + i, value.bytes + 3 * i, 4);
                out[i] &= 0xFFFFFF;
            }
        } else {
            uint16_t halves[8];
            std::memcpy(halves, value.bytes, 16);
            for (int i = 0; i < 8; i++) out[i] = halves[i];
        }
        return value.bytes[byte_of_count(id_bits)];
    }

    // Put the ids from the arena into `out`, where an unpacked value says where they are; returns their number.
    size_t copy_many(size_t count, uint32_t *out) const {
        const uint32_t start = id_bits == 32 ? out[0] : out[0] | out[1] << id_bits;
        std::memcpy(out, ids.data() + start, 64);
        return count & ~MANY;
    }

    // Keep the ids of a word, filled up to a multiple of `unit`; returns where they are.
    uint32_t keep(const uint32_t *word_ids, size_t count, size_t unit) {
        const size_t start = ids.size();
        ids.insert(ids.end(), word_ids, word_ids + count);
        ids.resize(start + (count + unit - 1) / unit * unit);
        return uint32_t(start);
    }

    // Copy kept ids to `out`, up to three places more than asked for: they are few, and a call would take longer.
    void copy_kept(uint32_t start, size_t count, uint32_t *out) const {
        for (size_t i = 0; i < count; i += 4) std::memcpy(out + i, ids.data() + start + i, 16);
    }

    void add_short(Key key, const uint32_t *word_ids, size_t count) {
        place(key, pack(word_ids, count));
        used++;
    }

    // Put the ids of a short piece that its own line does not have into `out`; false if no line has them.
    bool find_short(Key key, uint32_t *out, size_t &count) const {
        for (size_t i = line_of(key);; i = (i + 1) & line_mask) {
            for (int side = 0; side < 2; side++) {
                const Key &held = lines[i].keys[side];
                if (held.high == 0) return false;
                if (held.low != key.low || held.high != key.high) continue;
                count = unpack(lines[i].values[side], out);
                if (count & MANY) count = copy_many(count, out);
                return true;
            }
        }
    }

    size_t long_slot(std::string_view word, uint64_t h) const {
        const size_t mask = long_words.size() - 1;
        for (size_t slot = h & mask;; slot = (slot + 1) & mask) {
            const LongWord &held = long_words[slot];
            if (!held.used || (held.hash == h && held.size == word.size() &&
                               std::memcmp(bytes.data() + held.bytes, word.data(), word.size()) == 0)) {
                return slot;
            }
        }
    }

    // The same for a longer piece, whose hash is `h`.
    bool find_long(std::string_view word, uint64_t h, uint32_t *out, size_t &count) const {
        const LongWord &held = long_words[long_slot(word, h)];
        if (!held.used) return false;
        count = held.count;
        copy_kept(held.ids, count, out);
        return true;
    }

    void add_long(std::string_view word, uint64_t h, const uint32_t *word_ids, size_t count) {
        if (2 * (long_used + 1) > long_words.size()) {
            Table<LongWord> old(2 * long_words.size());
            old.swap(long_words);
            for (const LongWord &held : old) {
                if (!held.used) continue;
                size_t slot = held.hash & (long_words.size() - 1);
                while (long_words[slot].used) slot = (slot + 1) & (long_words.size() - 1);
                long_words[slot] = held;
            }
        }
        long_words[long_slot(word, h)] = {h, uint32_t(bytes.size()), uint32_t(word.size()),
                                          keep(word_ids, count, 4), uint32_t(count), true};
        bytes.insert(bytes.end(), word.begin(), word.end());
        long_used++;
    }
};

}  // namespace fastllm
