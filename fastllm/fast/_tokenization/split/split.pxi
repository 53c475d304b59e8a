"""Splitting: which pattern, which instruction set, and pre-tokens as Python sees them; splitter.h does the work."""

import os
from functools import lru_cache

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.string cimport memset
from libcpp.memory cimport shared_ptr
from libcpp.string_view cimport string_view
from libcpp.vector cimport vector

from fastllm.patterns.code_points import class_ranges, complement, intersection
from fastllm.patterns.named import NAMED, spans_of
from fastllm.patterns.steps import BEHAVIORS
from fastllm.patterns.steps import parts as parts_of_step
from fastllm.patterns.unicode_classes import RANGES


cdef extern from "platform.h" namespace "fastllm" nogil:
    int lowest_bit "fastllm::countr_zero"(uint64_t)

cdef extern from "split/characters.h" namespace "fastllm" nogil:
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

cdef extern from "split/pattern.h" namespace "fastllm" nogil:
    cdef cppclass Pattern:
        bint has_masks()

    Pattern pattern_named(string_view name, uint32_t max_digits)

cdef extern from "split/class_table.h" namespace "fastllm" nogil:
    cdef cppclass ClassTable:
        void set(const vector[uint32_t]& run_starts, const vector[uint8_t]& run_classes) except +

cdef extern from "split/automaton.h" namespace "fastllm" nogil:
    cdef cppclass OpenState "fastllm::AutomatonTables::OpenState":
        uint16_t state
        bint matched, behind_gap, marked

    enum:
        UNSAFE "fastllm::AutomatonTables::UNSAFE"
        NEUTRAL "fastllm::AutomatonTables::NEUTRAL"
        OPEN "fastllm::AutomatonTables::OPEN"
        DEAD "fastllm::AutomatonTables::DEAD"
        MATCHES "fastllm::AutomatonTables::MATCHES"

    cdef cppclass Behavior "fastllm::AutomatonTables::Behavior":
        pass

    cdef cppclass AutomatonTables:
        uint32_t group_size
        bint groups_are_matches
        vector[uint32_t] run_sizes
        Behavior behavior
        bint invert
        vector[uint8_t] first_is_match
        uint16_t plain_starts[2][2]
        uint32_t columns, waiting, text_start, start, start_behind_gap
        vector[uint32_t] fused
        vector[OpenState] open
        vector[uint16_t] plain
        vector[uint8_t] cut_kinds
        ClassTable classes
        void count_class(uint32_t column)
        void set_first_bytes()
        void set_hot_states(const vector[uint32_t]& states, const vector[uint8_t]& actions) except +

    cdef cppclass Automaton:
        vector[AutomatonTables] steps

    cdef cppclass SharedAutomaton "std::shared_ptr<const fastllm::Automaton>":
        SharedAutomaton()
        SharedAutomaton(Automaton*) except +

cdef extern from "split/right_groups.h" namespace "fastllm" nogil:
    enum GroupColumn:
        OTHER_CHARACTER
        GROUPED_DIGIT
        BLOCKING

cdef extern from "split/run_sizes.h" namespace "fastllm" nogil:
    enum RunColumn:
        NO_SPACE
        RUN_SPACE

cdef extern from "split/behaviors.h" namespace "fastllm" nogil:
    cdef cppclass RemovedParts:
        vector[uint64_t] begins
        string_view leave_out(Isa, string_view, vector[uint64_t]& starts) except +

cdef extern from "split/pair_cutter.h" namespace "fastllm" nogil:
    enum CutterKind "fastllm::PairCutter::Kind":
        PAIRS "fastllm::PairCutter::PAIRS"
        PAIRS_BLANKS "fastllm::PairCutter::PAIRS_BLANKS"
        BLANKS "fastllm::PairCutter::BLANKS"
        SPACES "fastllm::PairCutter::SPACES"
        RUNS "fastllm::PairCutter::RUNS"

    cdef cppclass PairCutter:
        PairCutter(CutterKind, bint reads_blanks) except +
        void add_token(string_view) except +

    cdef cppclass SharedCutter "std::shared_ptr<const fastllm::PairCutter>":
        SharedCutter(shared_ptr[PairCutter])

cdef extern from "split/splitter.h" namespace "fastllm" nogil:
    cdef cppclass SplitScratch:
        RemovedParts removed

    cdef cppclass Splitter:
        Splitter()
        Splitter(Pattern, Isa)
        Splitter(SharedAutomaton, Isa) except +
        Splitter(SharedCutter, Isa) except +
        Pattern pattern
        Isa isa
        shared_ptr[const CppBertTable] bert
        shared_ptr[const CppTextSteps] steps
        bint gathers_words, sums_scores
        bint is_compiled()
        string_view split(string_view, vector[uint64_t]& starts, SplitScratch&) except +
        void find_starts(string_view, vector[uint64_t]& starts, SplitScratch&) except +
        void find_starts_by_scanner(string_view, uint64_t* starts)
        size_t next_cut(string_view, size_t)


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
            for i in range(0, <size_t>len(runs), 2):
                first, last = runs[i], runs[i + 1]
                memset(class_of_each.data() + first, value, last + 1 - first)
    add_pages(class_of_each)


_fill_class_table()


# ---- the instruction set -------------------------------------------------------------------------------------


ISAS = tuple([ISA_NAMES[number].decode() for number in range(NUM_ISAS)])


def _chosen_isa():
    """The number of the instruction set: the processor's best, or what FASTLLM_SIMD asks for."""
    name = os.environ.get("FASTLLM_SIMD", "")
    best = <int>supported_isa()
    if not name:
        return best
    if name not in ISAS:
        *others, last = ISAS
        known = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"FASTLLM_SIMD must be {known}, not {name!r}")
    if ISAS.index(name) > best:
        raise ImportError(f"FASTLLM_SIMD={name}, but this build on this processor has {ISAS[best]}")
    return ISAS.index(name)


cdef int chosen_isa = _chosen_isa()


def isa_number():
    """The place in ISAS of the instruction set in use."""
    return chosen_isa


def isa_name():
    """The instruction set in use."""
    return ISAS[chosen_isa]


# ---- splitting -----------------------------------------------------------------------------------------------


cdef Splitter splitter_of(object pattern, int isa, bint by_automaton=False) except *:
    """What splits by a `SplitPattern`, or by a named one; it is not compiled where there is no automaton."""
    cdef bytes name
    cdef Splitter splitter
    if isinstance(pattern, str):
        pattern = NAMED.get(pattern)
    if pattern is None or pattern.engine in ("re", "matcher"):
        return splitter
    if by_automaton or pattern.scanner is None:
        return Splitter((<AutomatonHandle>automaton_of(pattern)).automaton, <Isa>isa)
    text, max_digits = pattern.scanner
    name = text.encode()
    splitter = Splitter(pattern_named(string_view(<const char*>name, len(name)), max_digits), <Isa>isa)
    if not splitter.pattern.has_masks():
        raise NotImplementedError(f"{text} has no row in split/pattern.h")
    return splitter


cdef class AutomatonHandle:
    """What Python keeps of an automaton."""

    cdef SharedAutomaton automaton


@lru_cache(maxsize=64)
def automaton_of(pattern):
    """The tables of a `SplitPattern`, as C++ has them."""
    cdef AutomatonHandle handle = AutomatonHandle()
    cdef Automaton* automaton = new Automaton()
    handle.automaton = SharedAutomaton(automaton)
    steps = pattern.compiled_steps
    automaton.steps.resize(len(steps))
    for number, step in enumerate(steps):
        automaton.steps[number].behavior = <Behavior><int>BEHAVIORS.index(step.behavior)
        automaton.steps[number].invert = step.invert
        for is_match in step.first_is_match:
            automaton.steps[number].first_is_match.push_back(is_match)
        if step.groups is not None:
            fill_groups(automaton.steps[number], step.groups)
        elif step.run_sizes:
            fill_runs(automaton.steps[number], step.run_sizes)
        else:
            fill_tables(automaton.steps[number], step.fused)
            if step.first_is_match:
                automaton.steps[number].set_first_bytes()
    return handle


cdef int fill_groups(AutomatonTables& tables, groups) except -1:
    """Fill in what `patterns.right_groups` has found."""
    cdef vector[uint32_t] run_starts
    cdef vector[uint8_t] run_classes
    tables.group_size, tables.groups_are_matches, tables.columns = groups.size, groups.whole, 4
    blocking = intersection(groups.blocked, complement(groups.digits))
    marks = {0: <int>OTHER_CHARACTER}
    for runs, column in ((groups.digits, <int>GROUPED_DIGIT), (blocking, <int>BLOCKING)):
        for first, last in runs:
            marks[first] = column
            marks.setdefault(last + 1, <int>OTHER_CHARACTER)
    for start in sorted(marks):
        if start < 0x110000:
            run_starts.push_back(start)
            run_classes.push_back(marks[start])
    tables.classes.set(run_starts, run_classes)
    tables.count_class(<int>GROUPED_DIGIT)
    for before in range(3):
        for after in range(3):
            tables.cut_kinds.push_back(UNSAFE if before == <int>GROUPED_DIGIT and after != <int>OTHER_CHARACTER else NEUTRAL)
    return 0


cdef int fill_runs(AutomatonTables& tables, sizes) except -1:
    """Fill in what `patterns.run_sizes` has found."""
    cdef vector[uint32_t] run_starts
    cdef vector[uint8_t] run_classes
    tables.run_sizes, tables.columns = sizes, 3
    run_starts.push_back(0)
    run_classes.push_back(<int>NO_SPACE)
    for first, last in class_ranges("White_Space"):
        run_starts.push_back(first)
        run_classes.push_back(<int>RUN_SPACE)
        run_starts.push_back(last + 1)
        run_classes.push_back(<int>NO_SPACE)
    tables.classes.set(run_starts, run_classes)
    tables.count_class(<int>RUN_SPACE)
    for before in (<int>NO_SPACE, <int>RUN_SPACE):
        for after in (<int>NO_SPACE, <int>RUN_SPACE):
            tables.cut_kinds.push_back(UNSAFE if before == after == <int>RUN_SPACE else NEUTRAL)
    return 0


cdef int fill_tables(AutomatonTables& tables, fused) except -1:
    """Fill in what `patterns.fused` or `patterns.composed` has found."""
    cdef uint32_t columns = fused.classes.total + 1
    cdef Py_ssize_t rows = len(fused.table)
    cdef vector[uint32_t] run_starts
    cdef vector[uint8_t] run_classes
    cdef OpenState open_state
    cdef uint32_t row
    tables.columns, tables.waiting = columns, fused.max_waiting + 1
    tables.text_start, tables.start = fused.text_start * columns, fused.start * columns
    tables.start_behind_gap = fused.start_behind_gap * columns
    for entries in fused.table:
        for target, cuts in entries:
            row = <uint32_t>OPEN | <uint32_t>(target - rows) if target >= rows else target * columns
            tables.fused.push_back(row << 8 | <uint32_t>cuts)
    for state in fused.open_states:
        open_state.state, open_state.matched = state.number, state.matched
        open_state.behind_gap, open_state.marked = state.behind_gap, state.marked
        tables.open.push_back(open_state)
    if fused.automaton is not None:
        fill_plain_table(tables, fused.automaton)
    for kind in fused.cut_kinds():
        tables.cut_kinds.push_back(kind)
    for start, number in zip(fused.classes.starts, fused.classes.numbers):
        if start < 0x110000:
            run_starts.push_back(start)
            run_classes.push_back(number)
    tables.classes.set(run_starts, run_classes)
    hot_states, hot_actions = fused.often_met()
    tables.set_hot_states(hot_states, hot_actions)
    return 0


cdef int fill_plain_table(AutomatonTables& tables, automaton) except -1:
    """Fill in what open states ask for."""
    for entries in automaton.table:
        for target, matches in entries:
            tables.plain.push_back((<int>DEAD if target < 0 else target) | (<int>MATCHES if matches else 0))
    for at_text_start, start in enumerate((automaton.start, automaton.text_start)):
        tables.plain_starts[at_text_start][0] = start
        tables.plain_starts[at_text_start][1] = automaton.not_empty(start)
    return 0


def split_text(str text, pattern, isa=None):
    """The pre-tokens of `text`, without surrogates, by a `SplitPattern` that is compiled.

    `isa` names one of ISAS, or "scalar" for the scalar scanner, or "automaton".
    """
    cdef Py_ssize_t size
    cdef const char* data
    if not text.isascii():
        return split_utf8(text.encode(), pattern, isa)
    data = PyUnicode_AsUTF8AndSize(text, &size)
    return pretokens_of(string_view(data, size), pattern, isa)


def split_utf8(bytes text, pattern, isa=None):
    """The same for valid UTF-8."""
    return pretokens_of(string_view(<const char*>text, len(text)), pattern, isa)


def pretoken_starts(bytes text, pattern, isa=None):
    """A bit for each byte of UTF-8 `text`, the lowest of a byte first, set where a pre-token starts.

    Of what a step leaves of the text, where it removes parts of it.
    """
    cdef vector[uint64_t] starts
    cdef SplitScratch scratch
    cdef string_view whole = string_view(<const char*>text, len(text))
    cdef size_t size = split_into(whole, pattern, isa, starts, scratch).size()
    return PyBytes_FromStringAndSize(<const char*>starts.data(), (size + 7) // 8)


def next_cut(bytes text, pattern, size_t start):
    """The first place from `start` on, not 0, where UTF-8 `text` may be cut in two, or its size."""
    cdef Splitter splitter = splitter_of(pattern, chosen_isa)
    return splitter.next_cut(string_view(<const char*>text, len(text)), start)


cdef string_view split_into(string_view text, pattern, isa, vector[uint64_t]& starts, SplitScratch& scratch) except *:
    """What the pre-tokens lie in; fills `starts`, a word for each 64 bytes begun."""
    cdef Splitter splitter
    cdef int number = ISAS.index(isa) if isa in ISAS else chosen_isa
    splitter = splitter_of(pattern, number, isa == "automaton")
    if not splitter.is_compiled():
        raise ValueError(f"{str(pattern)!r} is not compiled")
    if isa == "scalar" and not splitter.pattern.has_masks():
        raise ValueError(f"{str(pattern)!r} has no scanner")
    if isa == "scalar":
        starts.assign((text.size() + 63) // 64, <uint64_t>0)
        splitter.find_starts_by_scanner(text, starts.data())
        return text
    return splitter.split(text, starts, scratch)


cdef list pretokens_of(string_view whole, pattern, isa):
    """The pre-tokens of a text."""
    cdef vector[uint64_t] starts
    cdef SplitScratch scratch
    cdef string_view text = split_into(whole, pattern, isa, starts, scratch)
    cdef Py_ssize_t start = 0, end, size = text.size(), word
    cdef uint64_t bits
    cdef list pretokens = []
    for word in range(<Py_ssize_t>starts.size()):
        bits = starts[word]
        while bits:
            end = 64 * word + lowest_bit(bits)
            if end > 0:
                pretokens.append(PyUnicode_DecodeUTF8(text.data() + start, end - start, NULL))
            start = end
            bits &= bits - 1
    if size > 0:
        pretokens.append(PyUnicode_DecodeUTF8(text.data() + start, size - start, NULL))
    return pretokens
