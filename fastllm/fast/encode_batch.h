// Encoding many texts on several threads.
//
// Algorithm. Texts, and segments of long ones, are units in one row. A thread takes the next few units, at least
// SHARE bytes of them, encodes them into its own worker's buffer, and comes back for more, until none is left. When all
// are done, the stretches are copied in order into one array. One thread alone writes the ids where they are
// to stay: what that spares is a copy and, as memory is new, the system's work on each of its pages.
//
// Invariants. No worker serves two threads. Threads live for one call: there is nothing that a fork could break. The
// calling thread works as well.
//
// Cost. cl100k, 16 MB, two threads against one: 1.72 English, 1.73 code, 1.63 many languages. What starting a
// thread takes was not measured; WORTH_THREADS is a guess on the safe side.

#pragma once

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#include "characters.h"
#include "encode_levels.h"

namespace fastllm {

using FindPieces = void (*)(Family, std::string_view, uint64_t *, std::vector<size_t> &);

constexpr size_t SEGMENT = size_t(1) << 20;
constexpr size_t SHARE = size_t(1) << 16;

// Whether every pattern starts a piece at `i`: behind an ASCII non-blank and a newline, at an ASCII letter or digit.
inline bool is_safe_cut(std::string_view text, size_t i) {
    const uint8_t c = uint8_t(text[i]), folded = c | 32;
    return text[i - 1] == '\n' && text[i - 2] > ' ' && text[i - 2] < 0x7F &&
           ((c >= '0' && c <= '9') || (folded >= 'a' && folded <= 'z'));
}

// Where the segment that starts at `start` ends: the first safe cut after `size` bytes, or the end of the text.
inline size_t segment_end(std::string_view text, size_t start, size_t size) {
    if (text.size() - start <= size) return text.size();
    for (size_t i = start + size; i < text.size(); i++) {
        if (is_safe_cut(text, i)) return i;
    }
    return text.size();
}

// Append the ids of valid UTF-8 `text` to the worker's `out`.
inline void encode_text(Worker &worker, Family family, FindPieces find_pieces, std::string_view text) {
    for (size_t start = 0; start < text.size() && worker.missing < 0;) {
        const size_t end = segment_end(text, start, SEGMENT);
        const std::string_view segment = text.substr(start, end - start);
        worker.starts.resize((segment.size() + 63) / 64);
        find_pieces(family, segment, worker.starts.data(), worker.doubtful);
        worker.encode(segment);
        start = end;
    }
}

// Units that one worker has encoded one after the other, and where their ids are in its `out`.
struct Stretch {
    size_t first, last;  // units
    const Worker *worker;
    size_t start, size;  // ids
};

struct BatchJob {
    std::vector<std::string_view> units;
    std::vector<size_t> texts;   // the text that each unit belongs to
    std::vector<int64_t> offsets;  // where each text's ids begin, and where the last ends
    std::vector<Stretch> stretches;

    // One more text, in several units if it is long and threads are to share it.
    void add(std::string_view text, bool shared) {
        const size_t number = offsets.size();
        offsets.push_back(0);
        for (size_t start = 0; start < text.size();) {
            const size_t end = segment_end(text, start, shared ? 4 * SHARE : text.size());
            units.push_back(text.substr(start, end - start));
            texts.push_back(number);
            start = end;
        }
    }

    // Encode all units on as many threads as there are workers. One worker has all ids in its `out`.
    void run(const std::vector<Worker *> &workers, Family family, FindPieces find_pieces) {
        std::vector<size_t> sizes(units.size());
        if (workers.size() == 1) {
            Worker &worker = *workers[0];
            for (size_t unit = 0; unit < units.size() && worker.missing < 0; unit++) {
                const size_t before = worker.out.size;
                encode_text(worker, family, find_pieces, units[unit]);
                sizes[unit] = worker.out.size - before;
            }
        } else {
            share(workers, family, find_pieces, sizes);
        }
        std::vector<int64_t> counts(offsets.size(), 0);
        for (size_t unit = 0; unit < units.size(); unit++) counts[texts[unit]] += int64_t(sizes[unit]);
        int64_t total = 0;
        for (size_t i = 0; i < counts.size(); i++) {
            offsets[i] = total;
            total += counts[i];
        }
        offsets.push_back(total);
    }

    void share(const std::vector<Worker *> &workers, Family family, FindPieces find_pieces,
               std::vector<size_t> &sizes) {
        std::atomic<size_t> next{0};
        std::mutex lock;
        std::exception_ptr failure;
        auto work = [&](Worker *worker) {
            try {
                while (worker->missing < 0) {
                    size_t first = next.load(), last;
                    do {
                        last = first;
                        for (size_t bytes = 0; last < units.size() && bytes < SHARE; last++) {
                            bytes += units[last].size();
                        }
                    } while (first < last && !next.compare_exchange_weak(first, last));
                    if (first == last) return;
                    const size_t start = worker->out.size;
                    for (size_t unit = first; unit < last; unit++) {
                        const size_t before = worker->out.size;
                        encode_text(*worker, family, find_pieces, units[unit]);
                        sizes[unit] = worker->out.size - before;
                    }
                    std::lock_guard<std::mutex> guard(lock);
                    stretches.push_back({first, last, worker, start, worker->out.size - start});
                }
            } catch (...) {
                std::lock_guard<std::mutex> guard(lock);
                failure = std::current_exception();
            }
        };
        std::vector<std::thread> threads;
        try {
            for (size_t i = 1; i < workers.size(); i++) threads.emplace_back(work, workers[i]);
        } catch (const std::system_error &) {
            // The system has no more threads to give: those there are do the work.
        }
        work(workers[0]);
        for (std::thread &thread : threads) thread.join();
        if (failure) std::rethrow_exception(failure);
        std::sort(stretches.begin(), stretches.end(),
                  [](const Stretch &a, const Stretch &b) { return a.first < b.first; });
    }

    // Of several workers, the ids of all in order.
    void copy_to(uint32_t *ids) const {
        for (const Stretch &s : stretches) {
            std::memcpy(ids, s.worker->out.data + s.start, 4 * s.size);
            ids += s.size;
        }
    }
};

}  // namespace fastllm
