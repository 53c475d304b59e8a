# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
# distutils: language = c++
r"""Scanners for the named split patterns: where does the piece that starts here end?

Algorithm. Text is UTF-8. Each pattern has a hand-written function that looks at the class of the first one
or two characters, which decides the branch of the expression that matches, and then runs to the end of that
branch. Nothing is matched twice but the white space in front of a word.

Classes. A two-level table gives the class of a code point, see characters.h.

Invariants. ``0 <= start < text.size()`` on entry and ``start < end <= text.size()`` on return, so a loop over
pieces always ends. Only `class_at` and `byte_at` read the text, both behind a comparison with its size;
a character that UTF-8 does not allow is one byte of class OTHER.

Cost. About one table look-up per character; a segment's end is looked for once per segment.
"""

import os

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.string cimport memset
from libcpp.string_view cimport string_view
from libcpp.vector cimport vector

from fastllm.patterns.named import NAMED
from fastllm.patterns.unicode_classes import RANGES


cdef extern from *:
    int lowest "__builtin_ctzll"(uint64_t) noexcept nogil

cdef extern from "isa.h" namespace "fastllm" nogil:
    ctypedef enum Isa "fastllm::Isa":
        pass
    Isa supported_isa()

cdef extern from "split/dispatch.h" namespace "fastllm" nogil:
    enum CharacterClass:
        OTHER
        UPPER
        LOWER
        CASELESS
        MARK
        NUMBER
        SPACE
        PUNCTUATION
        SYMBOL

    cdef cppclass ClassOfEach "fastllm::PageArray<uint8_t>":
        void resize(size_t) except +
        uint8_t* data()

    void add_pages(const ClassOfEach&) except +
    CharacterClass class_of(uint32_t code_point)
    bint is_kana_or_unified_han(uint32_t code_point)
    ctypedef Py_ssize_t (*NextEnd)(Scan*, string_view, Py_ssize_t) noexcept nogil
    void find_pieces_at_level "fastllm::find_pieces"(
        Family, Isa, string_view, uint64_t* starts, vector[size_t]& doubtful, NextEnd
    )

cdef extern from "split/text_cuts.h" namespace "fastllm" nogil:
    size_t next_cut_of "fastllm::next_cut"(Family, string_view, size_t)

def _fill_class_table():
    cdef ClassOfEach class_of_each  # not from malloc, which keeps arrays to itself that are no larger than one freed
    cdef tuple runs
    cdef size_t i, first, last
    cdef int value
    class_of_each.resize(0x110000)
    for names, value in [
        (("Lu", "Lt"), UPPER),
        (("Ll",), LOWER),
        (("Lm", "Lo"), CASELESS),
        (("M",), MARK),
        (("N",), NUMBER),
        (("White_Space",), SPACE),
        (("P",), PUNCTUATION),
        (("S",), SYMBOL),
    ]:
        for name in names:
            runs = RANGES[name]
            for i in range(0, len(runs), 2):
                first, last = runs[i], runs[i + 1]
                memset(class_of_each.data() + first, value, last + 1 - first)
    add_pages(class_of_each)


_fill_class_table()

_RULES = {
    "gpt2": GPT2,
    "smollm2": SMOLLM2,
    "cl100k": CL100K,
    "llama3": LLAMA3,
    "qwen3.5": QWEN3_5,
    "o200k": O200K,
    "tekken": TEKKEN,
    "deepseek-v3": DEEPSEEK_V3,
}


cdef Family family_of(object pattern) except *:
    """The scanner of a `SplitPattern`, or of a named one; REGEX where there is none."""
    cdef Family family
    family.rules = REGEX
    family.digits = 0
    if isinstance(pattern, str):
        pattern = NAMED.get(pattern)
    if pattern is not None and pattern.scanner is not None:
        rules, family.digits = pattern.scanner
        family.rules = _RULES[rules]
    return family


# ---- characters --------------------------------------------------------------------------------------------


cdef inline uint8_t byte_at(string_view text, Py_ssize_t i) noexcept nogil:
    """The byte at `i`, or 0 past the end: no byte that a scanner looks for is 0."""
    return <uint8_t>text[i] if i < <Py_ssize_t>text.size() else 0


cdef inline bint is_continuation(uint8_t byte) noexcept nogil:
    return byte & 0xC0 == 0x80


cdef inline uint32_t decode_at(string_view text, Py_ssize_t i, int* length) noexcept nogil:
    """The code point at `i` and its length in bytes; U+FFFE of length 1 where it is not UTF-8."""
    cdef uint32_t a = byte_at(text, i), b = byte_at(text, i + 1), c, d
    length[0] = 1
    if a < 0x80:
        return a
    if 0xC2 <= a < 0xE0 and is_continuation(b):
        length[0] = 2
        return (a & 0x1F) << 6 | (b & 0x3F)
    c = byte_at(text, i + 2)
    if 0xE0 <= a < 0xF0 and is_continuation(b) and is_continuation(c) and (a > 0xE0 or b >= 0xA0):
        length[0] = 3
        return (a & 0x0F) << 12 | (b & 0x3F) << 6 | (c & 0x3F)
    d = byte_at(text, i + 3)
    if (
        0xF0 <= a < 0xF5 and is_continuation(b) and is_continuation(c) and is_continuation(d)
        and (a > 0xF0 or b >= 0x90) and (a < 0xF4 or b < 0x90)
    ):
        length[0] = 4
        return (a & 0x07) << 18 | (b & 0x3F) << 12 | (c & 0x3F) << 6 | (d & 0x3F)
    return 0xFFFE


cdef inline CharacterClass class_at(string_view text, Py_ssize_t i, int* length) noexcept nogil:
    """The class and the length of the character at `i`; OTHER and 0 past the end."""
    if i >= <Py_ssize_t>text.size():
        length[0] = 0
        return OTHER
    return class_of(decode_at(text, i, length))


cdef inline bint is_letter(CharacterClass c, CharacterClass last=CASELESS) noexcept nogil:
    """A letter; or, where `last` is MARK, a letter or a mark."""
    return UPPER <= c <= last


cdef inline bint is_newline(uint8_t byte) noexcept nogil:
    return byte == b"\n" or byte == b"\r"


cdef inline bint is_punctuation_like(CharacterClass c, CharacterClass last=CASELESS) noexcept nogil:
    r"""[^\s\p{L}\p{N}], less marks where these count as letters."""
    return not is_letter(c, last) and c != NUMBER and c != SPACE


# ---- runs --------------------------------------------------------------------------------------------------


cdef inline Py_ssize_t letters_end(
    string_view text, Py_ssize_t i, CharacterClass last=CASELESS
) noexcept nogil:
    cdef int length
    while is_letter(class_at(text, i, &length), last):
        i += length
    return i


cdef inline Py_ssize_t numbers_end(string_view text, Py_ssize_t i, uint32_t most) noexcept nogil:
    """The end of the numbers at `i`, `most` of them; 0 is any number."""
    cdef int length
    while class_at(text, i, &length) == NUMBER:
        i += length
        most -= 1
        if most == 0:
            break
    return i


cdef inline Py_ssize_t punctuation_like_end(
    string_view text, Py_ssize_t i, CharacterClass last=CASELESS
) noexcept nogil:
    cdef int length
    while is_punctuation_like(class_at(text, i, &length), last) and length:
        i += length
    return i


cdef inline Py_ssize_t newlines_end(string_view text, Py_ssize_t i) noexcept nogil:
    while is_newline(byte_at(text, i)):
        i += 1
    return i


cdef inline Py_ssize_t spaces_end(string_view text, Py_ssize_t start, bint by_line) noexcept nogil:
    r"""The end of the white space at `start` that belongs together.

    ``\s+(?!\S)|\s``: a run before a word leaves its last blank to the word. `by_line` puts ``\s*[\r\n]+``
    first: a run that holds a newline ends after the last one.
    """
    cdef Py_ssize_t i = start, last = start, after_newline = 0
    cdef int length
    while class_at(text, i, &length) == SPACE:
        last = i
        i += length
        if by_line and is_newline(byte_at(text, last)):
            after_newline = i
    if after_newline:
        return after_newline
    if i == <Py_ssize_t>text.size() or last == start:
        return i
    return last


cdef inline Py_ssize_t contraction_end(string_view text, Py_ssize_t i, bint any_case) noexcept nogil:
    """The end of 's 't 'm 'd 'll 've 're at `i`, or `i`; in any case, U+017F is an s."""
    if byte_at(text, i) != b"'":
        return i
    cdef uint8_t fold = 0x20 if any_case else 0
    cdef uint8_t a = byte_at(text, i + 1), b = byte_at(text, i + 2)
    if any_case and a == 0xC5 and b == 0xBF:
        return i + 3
    a |= fold
    b |= fold
    if a == b"s" or a == b"t" or a == b"m" or a == b"d":
        return i + 2
    if (a == b"l" and b == b"l") or (a == b"v" and b == b"e") or (a == b"r" and b == b"e"):
        return i + 3
    return i


# ---- patterns ----------------------------------------------------------------------------------------------


cdef Py_ssize_t gpt2_end(string_view text, Py_ssize_t start) noexcept nogil:
    cdef Py_ssize_t end = contraction_end(text, start, False)
    if end > start:
        return end
    cdef int length
    cdef Py_ssize_t i = start + (byte_at(text, start) == b" ")
    cdef CharacterClass c = class_at(text, i, &length)
    if is_letter(c):
        return letters_end(text, i)
    if c == NUMBER:
        return numbers_end(text, i, 0)
    if c != SPACE and length:
        return punctuation_like_end(text, i)
    return spaces_end(text, start, False)


cdef Py_ssize_t cl100k_end(string_view text, Py_ssize_t start, Family family) noexcept nogil:
    r"""cl100k, and llama3, qwen2 and qwen3.5, whose words may hold marks.

    cl100k's own ``\s++\z``: white space at the end of the text is one piece.
    """
    cdef Py_ssize_t end = contraction_end(text, start, True)
    if end > start:
        return end
    cdef int length, next_length
    cdef CharacterClass last = MARK if family == QWEN3_5 else CASELESS
    cdef CharacterClass c = class_at(text, start, &length)
    if is_letter(c, last):
        return letters_end(text, start, last)
    if c == NUMBER:
        return numbers_end(text, start, family.digits)
    cdef CharacterClass after = class_at(text, start + length, &next_length)
    if is_letter(after, last) and not is_newline(byte_at(text, start)):
        return letters_end(text, start + length, last)
    if c != SPACE:
        return newlines_end(text, punctuation_like_end(text, start, last))
    if byte_at(text, start) == b" " and next_length and is_punctuation_like(after, last):
        return newlines_end(text, punctuation_like_end(text, start + 1, last))
    if family == CL100K:
        end = start
        while class_at(text, end, &length) == SPACE:
            end += length
        if end == <Py_ssize_t>text.size():
            return end
    return spaces_end(text, start, True)


cdef Py_ssize_t o200k_word_end(string_view text, Py_ssize_t start) noexcept nogil:
    r"""The end of ``U*L+|U+L*`` at `start`, or `start`.

    U is upper-case, caseless letters and marks; L is lower-case, caseless letters and marks. After a run of U
    without an L behind it, the expression gives characters back until the last that is an L as well.
    """
    cdef int length
    cdef Py_ssize_t i = start, last_caseless = start
    cdef CharacterClass c = class_at(text, i, &length)
    while c == UPPER or c == CASELESS or c == MARK:
        i += length
        if c != UPPER:
            last_caseless = i
        c = class_at(text, i, &length)
    if c == LOWER:
        while c == LOWER or c == CASELESS or c == MARK:
            i += length
            c = class_at(text, i, &length)
        return i
    return last_caseless if last_caseless > start else i


cdef Py_ssize_t o200k_end(string_view text, Py_ssize_t start, Family family) noexcept nogil:
    """o200k, and tekken, which knows no contractions."""
    cdef int length, next_length
    cdef CharacterClass c = class_at(text, start, &length)
    cdef Py_ssize_t end = start, inner
    if is_letter(c):
        end = o200k_word_end(text, start)
    elif c != NUMBER and not is_newline(byte_at(text, start)):
        inner = start + length  # one leading character that is no letter, number or newline
        end = o200k_word_end(text, inner)
        if c == MARK and (end == inner or only_upper(text, inner, end)):
            # The first branch wants an L: with nothing but upper case behind it, the mark is that L.
            end = inner
        elif end == inner:
            end = start
    if end > start:
        return end if family == TEKKEN else contraction_end(text, end, True)
    if c == NUMBER:
        return numbers_end(text, start, family.digits)
    if c == SPACE:
        if byte_at(text, start) != b" ":
            return spaces_end(text, start, True)
        c = class_at(text, start + 1, &next_length)
        if next_length == 0 or not is_punctuation_like(c):
            return spaces_end(text, start, True)
    end = punctuation_like_end(text, start + (byte_at(text, start) == b" "))
    while is_newline(byte_at(text, end)) or byte_at(text, end) == b"/":
        end += 1
    return end


cdef bint only_upper(string_view text, Py_ssize_t i, Py_ssize_t end) noexcept nogil:
    cdef int length
    while i < end:
        if class_at(text, i, &length) != UPPER:
            return False
        i += length
    return True


cdef inline bint is_ascii_letter(uint8_t byte) noexcept nogil:
    return b"a" <= byte | 0x20 <= b"z"


cdef inline bint is_ascii_punctuation(uint8_t byte) noexcept nogil:
    return 0x21 <= byte <= 0x7E and not is_ascii_letter(byte) and not b"0" <= byte <= b"9"


cdef inline bint is_punctuation(CharacterClass c) noexcept nogil:
    return c == PUNCTUATION or c == SYMBOL


cdef Py_ssize_t deepseek_segment_end(string_view text, Py_ssize_t start) noexcept nogil:
    """The end of the stretch at `start`, not a number: all kana and unified Han, or none."""
    cdef int length
    cdef uint32_t code_point = decode_at(text, start, &length)
    cdef bint kana = is_kana_or_unified_han(code_point)
    cdef Py_ssize_t i = start
    while i < <Py_ssize_t>text.size():
        code_point = decode_at(text, i, &length)
        if kana != is_kana_or_unified_han(code_point) or class_of(code_point) == NUMBER:
            break
        i += length
    return i


cdef Py_ssize_t deepseek_word_end(string_view text, Py_ssize_t start) noexcept nogil:
    """The end of the piece at `start`; `text` ends where the segment does, so it holds no number."""
    cdef int length, next_length
    cdef CharacterClass c = class_at(text, start, &length), after
    cdef Py_ssize_t i
    if is_ascii_punctuation(byte_at(text, start)) and is_ascii_letter(byte_at(text, start + 1)):
        i = start + 1
        while is_ascii_letter(byte_at(text, i)):
            i += 1
        return i
    if is_letter(c, MARK):
        return letters_end(text, start, MARK)
    after = class_at(text, start + length, &next_length)
    if is_letter(after, MARK) and not is_punctuation(c) and not is_newline(byte_at(text, start)):
        return letters_end(text, start + length, MARK)
    if is_punctuation(c) or (byte_at(text, start) == b" " and is_punctuation(after)):
        i = start + length
        while is_punctuation(class_at(text, i, &length)):
            i += length
        return newlines_end(text, i)
    if c == SPACE:
        return spaces_end(text, start, True)
    # Nothing matches a control character on its own: a run of them is what lies between two matches.
    i = start
    while c == OTHER and length and not is_letter(after, MARK):
        i += length
        c = class_at(text, i, &length)
        after = class_at(text, i + length, &next_length)
    return i


cdef Py_ssize_t next_number(string_view text, Py_ssize_t i) noexcept nogil:
    cdef int length
    while i < <Py_ssize_t>text.size() and class_at(text, i, &length) != NUMBER:
        i += length
    return i


cdef Py_ssize_t next_end(Scan* scan, string_view text, Py_ssize_t start) noexcept nogil:
    """Where the piece that starts at `start` ends; pieces are asked for in order, `scan` made new per text.

    Patterns of several steps first cut out numbers (and, for DeepSeek, runs of kana and Han); the last expression
    sees each stretch as a text of its own, and leaves numbers as they are.
    """
    cdef Py_ssize_t end
    cdef int length
    if scan.family == GPT2:
        return gpt2_end(text, start)
    if scan.family == CL100K or scan.family == LLAMA3 or scan.family == QWEN3_5:
        return cl100k_end(text, start, scan.family)
    if scan.family == O200K or scan.family == TEKKEN:
        return o200k_end(text, start, scan.family)
    if scan.family == DEEPSEEK_V3:
        if start >= scan.segment_end:
            end = numbers_end(text, start, 3)
            if end > start:
                return end
            scan.segment_end = deepseek_segment_end(text, start)
        return deepseek_word_end(text.substr(0, scan.segment_end), start)
    if scan.family == SMOLLM2:
        if start >= scan.segment_end:
            end = numbers_end(text, start, 1)
            if end > start:
                return end
            scan.segment_end = next_number(text, start)
        return gpt2_end(text.substr(0, scan.segment_end), start)
    return text.size()  # REGEX never comes here


# ---- many pieces at once -----------------------------------------------------------------------------------


LEVELS = ("baseline", "avx2", "avx512")


def _chosen_level():
    """The instruction-set level: the processor's best, or what FASTLLM_SIMD asks for."""
    wanted = os.environ.get("FASTLLM_SIMD", "")
    best = <int>supported_isa()
    if not wanted:
        return best
    if wanted not in LEVELS:
        raise ValueError(f"FASTLLM_SIMD must be baseline, avx2 or avx512, not {wanted!r}")
    if LEVELS.index(wanted) > best:
        raise ImportError(f"FASTLLM_SIMD={wanted}, but this build on this processor has {LEVELS[best]}")
    return LEVELS.index(wanted)


cdef int level = _chosen_level()


cdef void find_pieces(
    Family family, string_view text, uint64_t* starts, vector[size_t]& doubtful
) noexcept nogil:
    """Set a bit of `starts` for each byte of valid UTF-8 `text` at which a piece starts; clear the others.

    `starts` has a word for each 64 bytes begun; `doubtful` is scratch.
    """
    find_pieces_at_level(family, <Isa>level, text, starts, doubtful, next_end)


def level_number():
    """The place in LEVELS of the level in use."""
    return level


def level_name():
    """The instruction-set level in use."""
    return LEVELS[level]


def split_text(str text, pattern, level_name=None):
    """The pieces of `text`, without surrogates, by a `SplitPattern` that has a scanner.

    `level_name` names one of LEVELS, or "scalar" for the scalar scanner.
    """
    cdef Py_ssize_t size
    cdef const char* data
    if not text.isascii():
        return split_utf8(text.encode(), pattern, level_name)
    data = PyUnicode_AsUTF8AndSize(text, &size)
    return pieces_of(string_view(data, size), pattern, level_name)


def split_utf8(bytes text, pattern, level_name=None):
    """The same for UTF-8."""
    return pieces_of(string_view(<const char*>text, len(text)), pattern, level_name)


def piece_starts(bytes text, pattern, level_name=None):
    """A bit for each byte of UTF-8 `text`, the lowest of a byte first, set where a piece starts."""
    cdef vector[uint64_t] starts
    find_starts(string_view(<const char*>text, len(text)), pattern, level_name, starts)
    return PyBytes_FromStringAndSize(<const char*>starts.data(), (len(text) + 7) // 8)


def next_cut(bytes text, pattern, size_t start):
    """The first place from `start` on, not 0, where UTF-8 `text` may be cut in two, or its size."""
    return find_cut(family_of(pattern), string_view(<const char*>text, len(text)), start)


cdef size_t find_cut(Family family, string_view text, size_t start) noexcept nogil:
    """The same. Only this module has the classes of characters that it asks for."""
    return next_cut_of(family, text, start)


cdef int find_starts(string_view text, pattern, level_name, vector[uint64_t]& starts) except -1:
    """Fill `starts`, a word for each 64 bytes begun."""
    cdef Family family = family_of(pattern)
    cdef vector[size_t] doubtful
    cdef Scan scan = Scan(family, 0)
    cdef Py_ssize_t start = 0
    cdef int number = level if level_name is None or level_name == "scalar" else LEVELS.index(level_name)
    if family == REGEX:
        raise ValueError(f"{str(pattern)!r} has no scanner")
    starts.assign((text.size() + 63) // 64, <uint64_t>0)
    if level_name == "scalar":
        while start < <Py_ssize_t>text.size():
            starts[start >> 6] |= <uint64_t>1 << (start & 63)
            start = next_end(&scan, text, start)
    else:
        find_pieces_at_level(family, <Isa>number, text, starts.data(), doubtful, next_end)
    return 0


cdef list pieces_of(string_view text, pattern, level_name):
    """The stretches of `text` from each start of a piece to the next."""
    cdef vector[uint64_t] starts
    cdef Py_ssize_t start = 0, end, size = text.size(), word
    cdef uint64_t bits
    cdef list pieces = []
    find_starts(text, pattern, level_name, starts)
    for word in range(<Py_ssize_t>starts.size()):
        bits = starts[word]
        while bits:
            end = 64 * word + lowest(bits)
            if end > 0:
                pieces.append(PyUnicode_DecodeUTF8(text.data() + start, end - start, NULL))
            start = end
            bits &= bits - 1
    if size > 0:
        pieces.append(PyUnicode_DecodeUTF8(text.data() + start, size - start, NULL))
    return pieces
