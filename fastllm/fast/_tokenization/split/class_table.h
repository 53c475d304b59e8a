// The classes of an expression: what it treats alike, a number for each code point.
//
// A two-level table, whose pages of 256 code points are mostly alike, and one for ASCII.

#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace fastllm {

struct ClassTable {
    uint8_t ascii[128];
    uint64_t behind_lead[64] = {};  // for each byte from 0xC0 on, a bit for each class, up to 64, of what it begins

    // Spread out the classes of runs of code points, each of which begins where the one before ends.
    void set(const std::vector<uint32_t> &run_starts, const std::vector<uint8_t> &run_classes) {
        std::vector<uint8_t> flat(0x110000);
        for (size_t run = 0; run < run_starts.size(); run++) {
            const size_t end = run + 1 < run_starts.size() ? run_starts[run + 1] : flat.size();
            std::fill(flat.begin() + run_starts[run], flat.begin() + ptrdiff_t(end), run_classes[run]);
            if (end <= 0x80) continue;
            const uint32_t last = lead_of(uint32_t(end) - 1);
            for (uint32_t lead = lead_of(std::max<uint32_t>(run_starts[run], 0x80)); lead <= last; lead++) {
                behind_lead[lead - 0xC0] |= uint64_t(1) << (run_classes[run] & 63);
            }
        }
        std::copy_n(flat.begin(), 128, ascii);
        std::unordered_map<std::string_view, uint16_t> seen;
        for (size_t first = 0; first < flat.size(); first += 256) {
            const std::string_view page(reinterpret_cast<const char *>(flat.data()) + first, 256);
            const auto [found, is_new] = seen.emplace(page, seen.size());
            page_of_.push_back(found->second);
            if (is_new) classes_.insert(classes_.end(), page.begin(), page.end());
        }
    }

    uint32_t of(uint32_t code_point) const {
        return classes_[size_t(page_of_[code_point >> 8]) << 8 | (code_point & 255)];
    }

  private:
    // The first byte of a character that is not ASCII.
    static uint32_t lead_of(uint32_t code_point) {
        if (code_point < 0x800) return 0xC0 | code_point >> 6;
        return code_point < 0x10000 ? 0xE0 | code_point >> 12 : 0xF0 | code_point >> 18;
    }

    std::vector<uint16_t> page_of_;  // of each 256 code points
    std::vector<uint8_t> classes_;   // in each page
};

}  // namespace fastllm
