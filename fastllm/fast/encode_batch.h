// Encoding many texts on several threads.
//
// Algorithm. Texts, and segments of long ones, are units in one row. A thread takes the next few units, at least
// SHARE bytes of them, encodes them into its own worker's buffer, and comes back for more, until none is left. When all
// are done, the threads copy the stretches in order into one array. One thread alone writes the ids where they are
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
#include <stdexcept>
#include <system_error>
#include <thread>

#include "characters.h"
#include "encode_levels.h"

namespace fastllm {

using FindPieces = void (*)(Family, std::string_view, uint64_t *, std::vector<size_t> &);
using NextCut = size_t (*)(Family, std::string_view, size_t);

constexpr size_t SEGMENT = size_t(1) << 20;
constexpr size_t SHARE = size_t(1) << 16;

// What finds pieces, and where a text may be cut (text_cuts.h). The functions are those of the module that has the
// classes of characters.
struct Splitter {
    Family family;
    FindPieces find_pieces;
    NextCut next_cut;

    // Where the segment that starts at `start` ends: the first place to cut after `size` bytes, or the end of the text.
    size_t segment_end(std::string_view text, size_t start, size_t size) const {
        return text.size() - start <= size ? text.size() : next_cut(family, text, start + size);
    }
};

// Append the ids of valid UTF-8 `text` to the worker's `out`.
inline void encode_text(Worker &worker, const Splitter &splitter, std::string_view text) {
    for (size_t start = 0; start < text.size() && worker.missing < 0;) {
        const size_t end = splitter.segment_end(text, start, SEGMENT);
        const std::string_view segment = text.substr(start, end - start);
        if (segment.size() >= NONE) {  // places have 32 bits
            throw std::invalid_argument("the text has a stretch of 4 GB or more in which it cannot be cut in two");
        }
        worker.starts.resize((segment.size() + 63) / 64);
        splitter.find_pieces(splitter.family, segment, worker.starts.data(), worker.doubtful);
        worker.encode(segment);
        start = end;
    }
}

// Do `work(i)` for i from 0 to `count`, each on a thread of its own, the first on this one.
template <typename Work>
inline void on_threads(size_t count, Work work) {
    std::vector<std::thread> threads;
    try {
        for (size_t i = 1; i < count; i++) threads.emplace_back(work, i);
    } catch (const std::system_error &) {
        // The system has no more threads to give: those there are do the work.
    }
    work(0);
    for (std::thread &thread : threads) thread.join();
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
    void add(const Splitter &splitter, std::string_view text, bool shared) {
        const size_t number = offsets.size();
        offsets.push_back(0);
        for (size_t start = 0; start < text.size();) {
            const size_t end = splitter.segment_end(text, start, shared ? 4 * SHARE : text.size());
            units.push_back(text.substr(start, end - start));
            texts.push_back(number);
            start = end;
        }
    }

    // Encode all units on as many threads as there are workers. One worker has all ids in its `out`.
    void run(const std::vector<Worker *> &workers, const Splitter &splitter) {
        std::vector<size_t> sizes(units.size());
        if (workers.size() == 1) {
            Worker &worker = *workers[0];
            for (size_t unit = 0; unit < units.size() && worker.missing < 0; unit++) {
                const size_t before = worker.out.size;
                encode_text(worker, splitter, units[unit]);
                sizes[unit] = worker.out.size - before;
            }
        } else {
            share(workers, splitter, sizes);
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

    void share(const std::vector<Worker *> &workers, const Splitter &splitter, std::vector<size_t> &sizes) {
        std::atomic<size_t> next{0};
        std::mutex lock;
        std::exception_ptr failure;
        on_threads(workers.size(), [&](size_t number) {
            Worker *worker = workers[number];
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
                        encode_text(*worker, splitter, units[unit]);
                        sizes[unit] = worker->out.size - before;
                    }
                    std::lock_guard<std::mutex> guard(lock);
                    stretches.push_back({first, last, worker, start, worker->out.size - start});
                }
            } catch (...) {
                std::lock_guard<std::mutex> guard(lock);
                failure = std::current_exception();
            }
        });
        if (failure) std::rethrow_exception(failure);
        std::sort(stretches.begin(), stretches.end(),
                  [](const Stretch &a, const Stretch &b) { return a.first < b.first; });
    }

    // Of several workers, the ids of all in order, copied by as many threads.
    void copy_to(uint32_t *ids, size_t threads) const {
        std::vector<size_t> places{0};
        for (const Stretch &s : stretches) places.push_back(places.back() + s.size);
        std::atomic<size_t> next{0};
        on_threads(threads, [&](size_t) {
            for (size_t i; (i = next++) < stretches.size();) {
                const Stretch &s = stretches[i];
                std::memcpy(ids + places[i], s.worker->out.data + s.start, 4 * s.size);
            }
        });
    }
};

}  // namespace fastllm
