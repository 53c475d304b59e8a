// Ids, and where their tokens stand, as Python objects.
//
// Algorithm. Where the interpreter has a lock, all lists share the int objects of one table, so that an id costs a
// look-up and a reference count (some 2 ns) instead of a new object (some 20 ns). Without a lock, counting references
// to objects that all threads share is the dearer way, so ints are made.
//
//     table    [ int 0 | int 1 | int 2 | ... ]
//     ids      17, 4, 17   ->   list [ table[17], table[4], table[17] ]
//
// A tuple takes some 40 ns to make, and 20 to give back: so those of short tokens at the beginning of texts are shared,
// too (`SharedSpans`), once they have been made.
//
// Invariants. `table` covers every id that may come, or is NULL.
//
// Cost. A look-up and a count an id, and so a span that is shared; else a tuple and mostly a look-up, in long texts an
// int. Shared spans: up to 7 MB, and 1 MB for their table.

#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "encode/model.h"

namespace fastllm {

// A list of `ids`; `table[i]` is the int i.
inline PyObject *list_of_ids(PyObject **table, const uint32_t *ids, size_t count) {
    PyObject *list = PyList_New(Py_ssize_t(count));
    if (!list) return nullptr;
    for (size_t i = 0; i < count; i++) {
#ifdef Py_GIL_DISABLED
        PyObject *number = PyLong_FromUnsignedLong(ids[i]);
#else
        PyObject *number = table ? table[ids[i]] : PyLong_FromUnsignedLong(ids[i]);
        if (table) Py_INCREF(number);
#endif
        if (!number) {
            Py_DECREF(list);
            return nullptr;
        }
        PyList_SET_ITEM(list, Py_ssize_t(i), number);
    }
    return list;
}

// The int `number`, from the table where it is there.
inline PyObject *int_of(PyObject **table, int64_t table_size, int64_t number) {
#ifndef Py_GIL_DISABLED
    if (number < table_size) return Py_NewRef(table[number]);
#endif
    return PyLong_FromLongLong(number);
}

// Tuples (start, end) that have been made, for those that many texts have. The interpreter's lock has to be held.
class SharedSpans {
  public:
    ~SharedSpans() {
        for (PyObject *pair : pairs_) Py_XDECREF(pair);
    }

    // Where the tuple is kept; null if it is not.
    PyObject **place_of(uint64_t start, uint64_t end) {
#ifdef Py_GIL_DISABLED
        return (void)start, (void)end, nullptr;
#else
        const uint64_t length = end - start;
        if (start >= STARTS || length - 1 >= LENGTHS) return nullptr;
        if (pairs_.empty()) pairs_.assign(STARTS * LENGTHS, nullptr);
        return &pairs_[start * LENGTHS + length - 1];
#endif
    }

  private:
    static constexpr uint64_t STARTS = 1 << 14, LENGTHS = 8;
    std::vector<PyObject *> pairs_;
};

// A new tuple (start, end).
//
// The garbage collector would find it to hold nothing that it looks for, and forget it; that is done at once.
inline PyObject *span_pair(PyObject **table, int64_t table_size, int64_t start, int64_t end) {
    PyObject *pair = PyTuple_New(2);
    if (!pair) return nullptr;
    PyTuple_SET_ITEM(pair, 0, int_of(table, table_size, start));
    PyTuple_SET_ITEM(pair, 1, int_of(table, table_size, end));
    if (!PyTuple_GET_ITEM(pair, 0) || !PyTuple_GET_ITEM(pair, 1)) {
        Py_DECREF(pair);
        return nullptr;
    }
    PyObject_GC_UnTrack(pair);
    return pair;
}

// A list of tuples, the i-th (start(i), end(i)), none of them negative.
template <typename Start, typename End>
PyObject *list_of_pairs(SharedSpans &shared, PyObject **table, int64_t table_size, size_t count, Start start, End end) {
    constexpr size_t PREFETCH_DISTANCE = 12;  // shared tuples lie anywhere, and so do the places where they are kept
    PyObject *list = PyList_New(Py_ssize_t(count));
    const auto place_at = [&](size_t i) { return shared.place_of(uint64_t(start(i)), uint64_t(end(i))); };
    for (size_t i = 0; list && i < count; i++) {
        if (i + 2 * PREFETCH_DISTANCE < count) prefetch(place_at(i + 2 * PREFETCH_DISTANCE));
        if (i + PREFETCH_DISTANCE < count) {
            PyObject **const soon = place_at(i + PREFETCH_DISTANCE);
            if (soon) prefetch_to_write(*soon);
        }
        PyObject **const place = place_at(i);
        PyObject *pair = place ? *place : nullptr;
        if (pair) {
            Py_INCREF(pair);
        } else if ((pair = span_pair(table, table_size, int64_t(start(i)), int64_t(end(i))))) {
            if (place) *place = Py_NewRef(pair);
        } else {
            Py_CLEAR(list);
            break;
        }
        PyList_SET_ITEM(list, Py_ssize_t(i), pair);
    }
    return list;
}

inline PyObject *list_of_spans(SharedSpans &shared, PyObject **table, int64_t table_size, const int64_t *starts,
                               const int64_t *ends, size_t count) {
    return list_of_pairs(
        shared, table, table_size, count, [&](size_t i) { return starts[i]; }, [&](size_t i) { return ends[i]; });
}

inline PyObject *list_of_spans(SharedSpans &shared, PyObject **table, int64_t table_size,
                               const std::vector<Span> &spans) {
    return list_of_pairs(
        shared, table, table_size, spans.size(), [&](size_t i) { return spans[i].start; },
        [&](size_t i) { return spans[i].end; });
}

}  // namespace fastllm
