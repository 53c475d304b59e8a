// Ids as Python objects.
//
// Algorithm. Where the interpreter has a lock, all lists share the int objects of one table, so that an id costs a look-up
// and a reference count (some 2 ns) instead of a new object (some 20 ns). Without a lock, counting references to
// objects that all threads share is the dearer way, so ints are made.

#pragma once

#include <Python.h>

#include <cstddef>
#include <cstdint>

namespace fastllm {

// A list of `ids`; `table[i]` is the int i for every id that may come, or `table` is NULL.
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

}  // namespace fastllm
