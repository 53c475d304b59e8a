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

    // Spread out the classes of runs of code points, each of which begins where the one before ends.
    void set(const std::vector<uint32_t> &run_starts, const std::vector<uint8_t> &run_classes) {
        std::vector<uint8_t> flat(0x110000);
        for (size_t run = 0; run < run_starts.size(); run++) {
            const size_t end = run + 1 < run_starts.size() ? run_starts[run + 1] : flat.size();
            std::fill(flat.begin() + run_starts[run], flat.begin() + ptrdiff_t(end), run_classes[run]);
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
    std::vector<uint16_t> page_of_;  // of each 256 code points
    std::vector<uint8_t> classes_;   // in each page
};

}  // namespace fastllm
