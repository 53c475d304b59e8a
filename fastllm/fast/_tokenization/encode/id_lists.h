// Ids, and where their tokens stand, as Python objects.
//
// Algorithm. Where the interpreter has a lock, all lists share the int objects of one table, so that an id costs a
// look-up and a reference count (some 2 ns) instead of a new object (some 20 ns). Without a lock, counting references
// to objects that all threads share is the dearer way, so ints are made.
//
//     table    [ int 0 | int 1 | int 2 | ... ]
//     ids      17, 4, 17   ->   list [ table[17], table[4], table[17] ]
//
// Invariants. `table` covers every id that may come, or is NULL.
//
// Cost. A look-up and a count an id; a tuple and mostly a look-up, in long texts an int, a span.

#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

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

// A list of the tuples (starts[i], ends[i]), none of them negative. Most spans begin where the one before ends: both
// then share an int.
//
// The garbage collector would find each tuple to hold nothing that it looks for, and forget it; that is done at once.
inline PyObject *list_of_spans(PyObject **table, int64_t table_size, const int64_t *starts, const int64_t *ends,
                               size_t count) {
    PyObject *list = PyList_New(Py_ssize_t(count));
    PyObject *end = nullptr;  // borrowed from the tuple before
    for (size_t i = 0; list && i < count; i++) {
        PyObject *pair = PyTuple_New(2);
        PyObject *start = i > 0 && starts[i] == ends[i - 1] ? Py_NewRef(end) : int_of(table, table_size, starts[i]);
        end = int_of(table, table_size, ends[i]);
        if (!pair || !start || !end) {
            Py_XDECREF(pair);
            Py_XDECREF(start);
            Py_XDECREF(end);
            Py_CLEAR(list);
            break;
        }
        PyTuple_SET_ITEM(pair, 0, start);
        PyTuple_SET_ITEM(pair, 1, end);
        PyObject_GC_UnTrack(pair);
        PyList_SET_ITEM(list, Py_ssize_t(i), pair);
    }
    return list;
}

}  // namespace fastllm
