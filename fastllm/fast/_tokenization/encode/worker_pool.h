// WorkerPool: the workers of an encoder that are not in use.
//
// Algorithm. A call takes a worker, makes one if there is none, and puts it back when it has its ids, so that calls
// from any number of threads never share one, and a cache stays warm from call to call. A call that fails halfway
// does not put it back.
//
//     idle      [ worker | worker ]   <- take, put at the end: the warmest first
//
// Invariants. Where the interpreter has a lock, callers hold it, and the pool needs none of its own. Where it has
// none, the pool's is held for a few instructions only.
//
// Cost. Some 30 instructions for both. A mutex in any case would take 20 ns of the 250 of a call with 11 characters.

#pragma once

#include <Python.h>

#include <memory>
#include <mutex>
#include <vector>

#include "encode/worker.h"

namespace fastllm {

class WorkerPool {
  public:
    // One that no other call has; null where all are in use.
    std::unique_ptr<Worker> take() {
        Guard guard(lock_);
        if (idle.empty()) return nullptr;
        std::unique_ptr<Worker> worker = std::move(idle.back());
        idle.pop_back();
        return worker;
    }

    void put(std::unique_ptr<Worker> worker) {
        Guard guard(lock_);
        idle.push_back(std::move(worker));
    }

    std::vector<std::unique_ptr<Worker>> idle;

  private:
#ifdef Py_GIL_DISABLED
    using Lock = std::mutex;
    using Guard = std::lock_guard<std::mutex>;
#else
    struct Lock {};
    struct Guard {
        explicit Guard(Lock) {}
    };
#endif
    Lock lock_;
};

}  // namespace fastllm
