// Where a Python str keeps its characters.
//
// Algorithm. ASCII is UTF-8 already. Of other texts the interpreter may keep the UTF-8 beside the characters, once
// somebody asked for it; that is used, but not asked for: it would stay in memory as long as the text.
//
//     str       ASCII             [ header | UTF-8 = characters ]
//               compact           [ header, utf8 or NULL | characters of 1, 2 or 4 bytes ]
//
// Invariants. The Text is valid as long as the str lives.

#pragma once

#include <Python.h>

#include "encode/worker.h"

namespace fastllm {

inline Text text_of(PyObject *text) {
#if PY_VERSION_HEX < 0x030C0000
    if (PyUnicode_READY(text) < 0) throw std::bad_alloc();
#endif
    const size_t length = size_t(PyUnicode_GET_LENGTH(text));
    if (PyUnicode_IS_ASCII(text)) return {PyUnicode_DATA(text), length, 0};
#if !defined(PYPY_VERSION)
    const auto *compact = reinterpret_cast<const PyCompactUnicodeObject *>(text);
    // Another thread may just be adding it, its length first.
    if (const char *utf8 = load_acquire(&compact->utf8)) return {utf8, size_t(compact->utf8_length), 0};
#endif
    return {PyUnicode_DATA(text), length, int(PyUnicode_KIND(text))};
}

}  // namespace fastllm
