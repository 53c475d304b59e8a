// BatchEncoder: many texts at once, on several threads.
//
// Algorithm. Texts, and segments of long ones, are the items of a queue (work_queue.h). A thread takes the next few,
// at least MIN_RANGE_BYTES of them, and encodes them into its own worker's buffer. As soon as it is known where their
// ids belong, the thread copies them there; most often that is at once, while they are in its cache. Then it comes
// back for more. Texts that are not ASCII become UTF-8 just before they are encoded, in the worker's memory.
//
//     texts       text 0    text 1                 text 2 ...
//     items      [ 0      ][ 1 | 2 | 3 (a long text) ][ 4      ] ...
//     workers    [ out of worker 0 ] [ out of worker 1 ] ...         in the order they took them
//                       \             /
//     ids        [ 0, 1, 2, 3, 4, ... ]                              in the order of the texts
//
// Invariants. No worker serves two threads. Threads live for one call: there is nothing that a fork could break. The
// calling thread works as well. `ids` moves only while no thread copies to it (`ids_move_`).
//
// Cost. cl100k, 16 MB in documents of 10,000 characters, AVX-512; two threads against one: 1.86 English, 1.90 code,
// 1.87 many languages. Why it is so (more in NOTES.md, encode):
// - Everything copied at the end, by one thread: 1.58, 1.65, 1.27.
// - Texts made UTF-8 before they are shared: a quarter of the time of many languages.
// - Room for an id a byte from the start, in new pages each time: 12 % slower on one thread.

#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <system_error>
#include <thread>

#include "encode/work_queue.h"
#include "encode/worker.h"

namespace fastllm {

// Do `work(i)` for i from 0 to `count`, each on a thread of its own, the first on this one.
template <typename Work>
inline void run_on_threads(size_t count, Work work) {
    std::vector<std::thread> threads;
    try {
        for (size_t i = 1; i < count; i++) threads.emplace_back(work, i);
    } catch (const std::system_error &) {
        // The system has no more threads to give: those there are do the work.
    }
    work(0);
    for (std::thread &thread : threads) thread.join();
}

class BatchEncoder {
  public:
    using Workers = std::vector<std::unique_ptr<Worker>>;

    std::vector<int64_t> offsets;  // where each text's ids begin, and where the last ends
    IdBuffer ids;                  // of all texts
    bool lone_surrogate = false;   // whether a text has half of a surrogate pair: the ids are void

    // One more text, in several items if it is long and threads are to share it.
    void add(const Splitter &splitter, const Text &text, bool shared) {
        offsets.push_back(0);
        std::string_view utf8 = text.utf8();
        if (!shared || text.bytes() <= MAX_ITEM_BYTES || !splitter.cuts_texts()) {
            add_item(text);
        } else if (text.width == 0 || write_long_text(splitter.isa, text, utf8)) {
            for (size_t start = 0; start < utf8.size();) {
                const size_t end = splitter.segment_end(utf8, start, MAX_ITEM_BYTES);
                add_item({utf8.data() + start, end - start, 0});
                start = end;
            }
        }
    }

    // Encode all texts on as many threads as there are workers.
    void run(const Workers &workers, const Splitter &splitter) {
        if (lone_surrogate) return;
        std::vector<size_t> item_sizes(items_.size());
        encode_items(workers, splitter, item_sizes);
        for (const std::unique_ptr<Worker> &worker : workers) lone_surrogate |= worker->lone_surrogate;
        std::vector<int64_t> sizes(offsets.size(), 0);
        for (size_t i = 0; i < items_.size(); i++) sizes[text_of_item_[i]] += int64_t(item_sizes[i]);
        int64_t total = 0;
        for (size_t i = 0; i < sizes.size(); i++) {
            offsets[i] = total;
            total += sizes[i];
        }
        offsets.push_back(total);
    }

    // Forget all texts.
    void clear() {
        items_.clear();
        text_of_item_.clear();
        offsets.clear();
        long_texts_.clear();
        lone_surrogate = false;
    }

  private:
    static constexpr size_t MIN_RANGE_BYTES = size_t(1) << 16;
    static constexpr size_t MAX_ITEM_BYTES = 4 * MIN_RANGE_BYTES;

    std::vector<Text> items_;
    std::vector<size_t> text_of_item_;
    std::vector<ByteBuffer> long_texts_;  // UTF-8 of those that are cut
    std::shared_mutex ids_move_;          // held by one thread: `ids` may move

    void add_item(const Text &item) {
        items_.push_back(item);
        text_of_item_.push_back(offsets.size() - 1);
    }

    bool write_long_text(Isa isa, const Text &text, std::string_view &utf8) {
        long_texts_.emplace_back();
        lone_surrogate |= !to_utf8(isa, text, long_texts_.back(), utf8);
        return !lone_surrogate;
    }

    void encode_items(const Workers &workers, const Splitter &splitter, std::vector<size_t> &item_sizes) {
        WorkQueue queue(items_, MIN_RANGE_BYTES);
        std::vector<std::vector<EncodedRange>> waiting(workers.size());  // by worker: encoded, not copied
        std::exception_ptr failure;
        std::mutex lock;
        run_on_threads(workers.size(), [&](size_t number) {
            Worker &worker = *workers[number];
            std::vector<EncodedRange> &ranges = waiting[number];
            try {
                for (EncodedRange range; queue.take(range);) {
                    encode_range(worker, splitter, range, item_sizes);
                    if (!worker.ok()) return queue.stop();
                    ranges.push_back(range);
                    queue.finish(range);
                    copy_ids(worker, ranges, queue.place(ranges));
                }
            } catch (...) {
                queue.stop();
                std::lock_guard<std::mutex> guard(lock);
                failure = std::current_exception();
            }
        });
        if (failure) std::rethrow_exception(failure);
        for (size_t i = 0; i < workers.size(); i++) copy_ids(*workers[i], waiting[i], queue.place(waiting[i]));
        ids.size = queue.total_ids();
    }

    void encode_range(Worker &worker, const Splitter &splitter, EncodedRange &range,
                      std::vector<size_t> &item_sizes) const {
        range.start = worker.out.size;
        for (size_t item = range.first; item < range.last && worker.ok(); item++) {
            const size_t before = worker.out.size;
            worker.encode_text(splitter, items_[item]);
            item_sizes[item] = worker.out.size - before;
        }
        range.size = worker.out.size - range.start;
    }

    // Copy the ids of the first `placed` of a worker's ranges to where they belong.
    void copy_ids(Worker &worker, std::vector<EncodedRange> &ranges, size_t placed) {
        if (placed == 0) return;
        reserve(ranges[placed - 1].offset + ranges[placed - 1].size);
        std::shared_lock<std::shared_mutex> nobody_moves(ids_move_);
        for (size_t i = 0; i < placed && ids.data; i++) {
            std::memcpy(ids.data + ranges[i].offset, worker.out.data + ranges[i].start, 4 * ranges[i].size);
        }
        ranges.erase(ranges.begin(), ranges.begin() + ptrdiff_t(placed));
        if (ranges.empty()) worker.out.size = 0;
    }

    // Make room for `count` ids in all; those there are may move.
    void reserve(size_t count) {
        {
            std::shared_lock<std::shared_mutex> nobody_moves(ids_move_);
            if (count <= ids.capacity) return;
        }
        std::unique_lock<std::shared_mutex> nobody_copies(ids_move_);
        ids.size = ids.capacity;
        if (count > ids.size) ids.reserve(count - ids.size);
    }
};

}  // namespace fastllm
