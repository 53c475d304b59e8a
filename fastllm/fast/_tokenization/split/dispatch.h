// The mask kernels of splitting, compiled once per instruction set.

#pragma once

#include <cstring>
#include <vector>

#include "isa.h"
#include "split/characters.h"
#include "split/pattern.h"

namespace fastllm::split {

#define FASTLLM_KERNELS "split/kernels.h"
#define FASTLLM_KERNELS_LAST_ISA 2
#include "for_each_isa.h"

// Set a bit of `starts` for each byte of `text` at which a pre-token starts; bits past its end are junk. `ambiguous`
// gets the places that masks cannot tell, in no order.
inline void find_starts(Pattern pattern, Isa isa, std::string_view text, uint64_t *starts,
                        std::vector<size_t> &ambiguous) {
    const uint8_t *data = reinterpret_cast<const uint8_t *>(text.data());
#if FASTLLM_DISPATCH
    if (isa == AVX512) return avx512::find_starts(pattern, {data, text.size()}, starts, ambiguous);
    if (isa == AVX2) return avx2::find_starts(pattern, {data, text.size()}, starts, ambiguous);
#endif
    baseline::find_starts(pattern, {data, text.size()}, starts, ambiguous);
}

}  // namespace fastllm::split
