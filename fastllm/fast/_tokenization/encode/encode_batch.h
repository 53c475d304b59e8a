// Encoding many texts on several threads.
//
// Algorithm. Texts, and segments of long ones, are units in one row. A thread takes the next few units, at least
// SHARE bytes of them, and encodes them into its own worker's buffer. As soon as all units before them are encoded,
// by whichever thread, it is known where their ids belong, and the thread copies them there; most often that is at
// once, while they are in its cache. Then it comes back for more, until none is left. Texts that are not ASCII become
// UTF-8 just before they are encoded, in the worker's memory.
//
// Invariants. No worker serves two threads. Threads live for one call: there is nothing that a fork could break. The
// calling thread works as well.
//
// Cost. cl100k, 16 MB in documents of 10,000 characters, AVX-512, medians of 11 in turns; two threads against one: 1.86
// English, 1.90 code, 1.87 many languages.
//
// Tried: all stretches copied at the end, 1.58, 1.65, 1.27; texts made UTF-8 before they are shared, which was a quarter
// of the time for many languages; huge pages for the ids, 1.2; pages asked for in advance by the megabyte, 1.6; room for
// an id a byte from the start, in new pages each time: 12 % slower on one thread, and without the memory of earlier
// ids (`SpareIds`) 1.71, 1.75 where there are more of them than the allocator keeps. One thread that writes the ids
// where they stay, not by way of its own memory, was 15 % slower where that is in no cache.
// What starting a thread takes was not measured; WORTH_THREADS is a guess on the safe side.

#pragma once

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "encode/dispatch.h"
#include "split/splitter.h"

namespace fastllm {

constexpr size_t SEGMENT = size_t(1) << 20;
constexpr size_t SHARE = size_t(1) << 16;
constexpr size_t UNIT = 4 * SHARE;  // what a long text is cut into

// Append the ids of valid UTF-8 `text` to the worker's `out`.
inline void encode_utf8(Worker &worker, const Splitter &splitter, std::string_view text) {
    for (size_t start = 0; start < text.size() && worker.missing < 0;) {
        const size_t end = splitter.segment_end(text, start, SEGMENT);
        const std::string_view segment = text.substr(start, end - start);
        if (segment.size() >= NONE) {  // places have 32 bits
            throw std::invalid_argument("the text has a stretch of 4 GB or more in which it cannot be cut in two");
        }
        worker.starts.resize((segment.size() + 63) / 64);
        splitter.find_starts(segment, worker.starts.data(), worker.ambiguous);
        worker.encode(segment);
        start = end;
    }
}

// The same for a text of either kind.
inline void encode_text(Worker &worker, const Splitter &splitter, const Text &text) {
    std::string_view utf8 = text.utf8();
    if (text.width && !to_utf8(worker.isa, text, worker.utf8, utf8)) {
        worker.surrogates = true;
    } else {
        encode_utf8(worker, splitter, utf8);
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

// Units that a worker has encoded one after the other, where their ids are in its `out`, and where they are to be.
struct Stretch {
    size_t first, last;  // units
    size_t start, size;  // ids
    size_t place;
};

// Which units are taken, and where the ids of those that are encoded belong: behind those of all before them.
class Turns {
  public:
    Turns(const std::vector<Text> &units) : units_(units), lasts_(units.size()), sizes_(units.size()) {}

    // The next units, at least SHARE bytes of them; false where none are left.
    bool take(Stretch &stretch) {
        std::lock_guard<std::mutex> guard(lock_);
        stretch.first = stretch.last = next_;
        for (size_t bytes = 0; next_ < units_.size() && bytes < SHARE; stretch.last = ++next_) {
            bytes += units_[next_].bytes();
        }
        return stretch.first < stretch.last;
    }

    // A stretch is encoded: it and what waited for it have places now, unless something before it is not encoded yet.
    void done(const Stretch &stretch) {
        std::lock_guard<std::mutex> guard(lock_);
        lasts_[stretch.first] = stretch.last;
        sizes_[stretch.first] = stretch.size;
        for (; front_ < units_.size() && lasts_[front_]; front_ = lasts_[front_]) {
            const size_t size = sizes_[front_];
            sizes_[front_] = filled_;
            filled_ += size;
        }
    }

    // Sets the places of those of a thread's own stretches that have one, and returns how many these are.
    size_t settle(std::vector<Stretch> &mine) {
        std::lock_guard<std::mutex> guard(lock_);
        size_t settled = 0;
        for (; settled < mine.size() && mine[settled].first < front_; settled++) {
            mine[settled].place = sizes_[mine[settled].first];
        }
        return settled;
    }

    size_t filled() const { return filled_; }

    // No more units: something went wrong.
    void end() {
        std::lock_guard<std::mutex> guard(lock_);
        next_ = units_.size();
    }

  private:
    const std::vector<Text> &units_;
    std::vector<size_t> lasts_;  // by the first unit of a stretch that is encoded: its last; else 0
    std::vector<size_t> sizes_;  // likewise its ids, and before `front_` their place
    size_t next_ = 0, front_ = 0, filled_ = 0;
    std::mutex lock_;
};

struct BatchJob {
    std::vector<Text> units;
    std::vector<size_t> texts;   // the text that each unit belongs to
    std::vector<int64_t> offsets;  // where each text's ids begin, and where the last ends
    Ids ids;                       // of all texts
    std::vector<Bytes> long_texts;  // UTF-8 of those that are cut
    bool surrogates = false;        // whether a text has half of a surrogate pair: then nothing was encoded

    // One more text, in several units if it is long and threads are to share it.
    void add(const Splitter &splitter, Isa isa, const Text &text, bool shared) {
        offsets.push_back(0);
        std::string_view utf8 = text.utf8();
        if (!shared || text.bytes() <= UNIT) {
            add_unit(text);
        } else if (text.width == 0 || write(isa, text, utf8)) {
            for (size_t start = 0; start < utf8.size();) {
                const size_t end = splitter.segment_end(utf8, start, UNIT);
                add_unit({utf8.data() + start, end - start, 0});
                start = end;
            }
        }
    }

    void add_unit(const Text &unit) {
        units.push_back(unit);
        texts.push_back(offsets.size() - 1);
    }

    bool write(Isa isa, const Text &text, std::string_view &utf8) {
        long_texts.emplace_back();
        surrogates |= !to_utf8(isa, text, long_texts.back(), utf8);
        return !surrogates;
    }

    // Encode all units on as many threads as there are workers.
    void run(const std::vector<std::unique_ptr<Worker>> &workers, const Splitter &splitter) {
        if (surrogates) return;
        std::vector<size_t> sizes(units.size());
        share(workers, splitter, sizes);
        for (const std::unique_ptr<Worker> &worker : workers) surrogates |= worker->surrogates;
        std::vector<int64_t> counts(offsets.size(), 0);
        for (size_t unit = 0; unit < units.size(); unit++) counts[texts[unit]] += int64_t(sizes[unit]);
        int64_t total = 0;
        for (size_t i = 0; i < counts.size(); i++) {
            offsets[i] = total;
            total += counts[i];
        }
        offsets.push_back(total);
    }

    // Forget all texts.
    void clear() {
        units.clear();
        texts.clear();
        offsets.clear();
        long_texts.clear();
        surrogates = false;
    }

  private:
    std::shared_mutex moving;  // held by one thread: `ids` may move

    size_t encode_unit(Worker &worker, const Splitter &splitter, size_t unit) {
        const size_t before = worker.out.size;
        encode_text(worker, splitter, units[unit]);
        return worker.out.size - before;
    }

    void share(const std::vector<std::unique_ptr<Worker>> &workers, const Splitter &splitter, std::vector<size_t> &sizes) {
        Turns turns(units);
        std::vector<std::vector<Stretch>> left(workers.size());  // by worker: encoded, not copied
        std::exception_ptr failure;
        std::mutex lock;
        on_threads(workers.size(), [&](size_t number) {
            Worker &worker = *workers[number];
            std::vector<Stretch> &mine = left[number];
            try {
                for (Stretch next; turns.take(next);) {
                    next.start = worker.out.size;
                    for (size_t unit = next.first; unit < next.last && worker.goes_on(); unit++) {
                        sizes[unit] = encode_unit(worker, splitter, unit);
                    }
                    if (!worker.goes_on()) return turns.end();
                    next.size = worker.out.size - next.start;
                    mine.push_back(next);
                    turns.done(next);
                    copy(worker, mine, turns.settle(mine));
                }
            } catch (...) {
                turns.end();
                std::lock_guard<std::mutex> guard(lock);
                failure = std::current_exception();
            }
        });
        if (failure) std::rethrow_exception(failure);
        for (size_t i = 0; i < workers.size(); i++) copy(*workers[i], left[i], turns.settle(left[i]));
        ids.size = turns.filled();
    }

    // Copy the first `settled` of a worker's stretches to their places.
    void copy(Worker &worker, std::vector<Stretch> &mine, size_t settled) {
        if (settled == 0) return;
        make_room(mine[settled - 1].place + mine[settled - 1].size);
        std::shared_lock<std::shared_mutex> nobody_moves(moving);
        for (size_t i = 0; i < settled && ids.data; i++) {
            std::memcpy(ids.data + mine[i].place, worker.out.data + mine[i].start, 4 * mine[i].size);
        }
        mine.erase(mine.begin(), mine.begin() + ptrdiff_t(settled));
        if (mine.empty()) worker.out.size = 0;
    }

    // Room for `count` ids in all; those there are may move.
    void make_room(size_t count) {
        {
            std::shared_lock<std::shared_mutex> nobody_moves(moving);
            if (count <= ids.capacity) return;
        }
        std::unique_lock<std::shared_mutex> nobody_copies(moving);
        ids.size = ids.capacity;
        if (count > ids.size) ids.make_room(count - ids.size);
    }
};

}  // namespace fastllm
