// Neighbors: which characters stand behind which in some token, or may.
//
// Algorithm. Of two characters of ASCII it is known exactly: a bit of 128 for each pair. For all others, a character
// has two sets of 64 bits, one for what is ASCII behind it and one for what is not, in which the lowest six bits of a
// character stand for it: scripts lie in blocks, so that letters of one rarely stand for letters of the other. So a
// pair that no token has may be thought to be in one, never the other way round.
//
//     ascii     [ before ] -> 128 bits
//     page_of   code point >> 6 -> page         rows    page << 6 | code point & 63 -> { ASCII, others }
//
// Invariants. Page 0 is empty: that of characters that begin no pair.
//
// Cost. Two look-ups and a shift; 1 KB for each page of characters that occur in tokens.

#pragma once

#include <cstdint>
#include <vector>

namespace fastllm {

class Neighbors {
  public:
    explicit Neighbors(bool reads_blanks) : reads_blanks(reads_blanks), page_of_(0x110000 >> 6, 0), rows_(64) {}

    const bool reads_blanks;  // "▁" is a blank

    // A character as it is looked up.
    uint32_t folded(uint32_t character) const { return reads_blanks && character == 0x2581 ? ' ' : character; }

    void add(uint32_t before, uint32_t character) {
        if ((before | character) < 0x80) {
            ascii_[before][character >> 6] |= uint64_t(1) << (character & 63);
            return;
        }
        uint16_t &page = page_of_[before >> 6];
        if (page == 0) {
            page = uint16_t(rows_.size() >> 6);
            rows_.resize(rows_.size() + 64);
        }
        Row &row = rows_[size_t(page) << 6 | (before & 63)];
        (character < 0x80 ? row.ascii : row.others) |= uint64_t(1) << (character & 63);
    }

    // Whether some token may have them in it, one behind the other; of ASCII, whether one has.
    bool may_be_pair(uint32_t before, uint32_t character) const {
        if ((before | character) < 0x80) return is_ascii_pair(before, character);
        const Row &row = rows_[size_t(page_of_[before >> 6]) << 6 | (before & 63)];
        return (character < 0x80 ? row.ascii : row.others) >> (character & 63) & 1;
    }
    bool is_ascii_pair(uint32_t before, uint32_t character) const {
        return ascii_[before][character >> 6] >> (character & 63) & 1;
    }

  private:
    struct Row {
        uint64_t ascii = 0, others = 0;
    };

    uint64_t ascii_[128][2] = {};
    std::vector<uint16_t> page_of_;
    std::vector<Row> rows_;
};

}  // namespace fastllm
