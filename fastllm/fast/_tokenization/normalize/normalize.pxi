"""Normalizing text: as BERT does, by what is made of each character in Python (bert_table.h), and by the maps of
SentencePiece (character_map.h)."""

from libc.stdint cimport int64_t, uint16_t, uint32_t
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libcpp.memory cimport make_shared, shared_ptr
from libcpp.string cimport string
from libcpp.string_view cimport string_view
from libcpp.vector cimport vector

cdef extern from "isa.h" namespace "fastllm" nogil:
    enum Isa:
        pass

    Isa supported_isa()
    const int NUM_ISAS
    const char** ISA_NAMES

cdef extern from "normalize/bert_table.h" namespace "fastllm" nogil:
    cdef cppclass NormalizedText:
        vector[char] bytes
        vector[int64_t] places

    cdef cppclass CppBertTable "fastllm::BertTable":
        CppBertTable() except +
        void set_chinese(uint32_t first, uint32_t last)
        void set_removed(uint32_t first, uint32_t last)
        void set_starting_mark(uint32_t)
        void set_hangul()
        void set_made(uint32_t code_point, uint32_t count)
        void add_made(uint32_t code_point, uint32_t word_class, uint32_t combining) except +
        void finish() except +
        void apply(string_view, NormalizedText&) except +


cdef class BertTable:
    """What BERT's normalizer makes of each character.

    `made` has characters, and for each those that it becomes: code point, class, combining class. Runs are first,
    last, first ...
    """
    cdef shared_ptr[CppBertTable] table

    def __init__(self, made, *, removed, marks, starting_marks, chinese, bint hangul):
        self.table = shared_ptr[CppBertTable](new CppBertTable())
        table = self.table.get()
        for first, last in zip(chinese[::2], chinese[1::2]):
            table.set_chinese(first, last)
        if hangul:
            table.set_hangul()
        for code_point, characters in made.items():
            table.set_made(code_point, len(characters))
            for character, word_class, combining in characters:
                table.add_made(character, word_class, combining)
        for code_point in marks:
            table.set_removed(code_point, code_point)
        for code_point in starting_marks:
            table.set_starting_mark(code_point)
        for first, last in zip(removed[::2], removed[1::2]):
            table.set_removed(first, last)
        table.finish()

    def normalize(self, str text):
        """What a text without surrogates becomes."""
        cdef NormalizedText normalized
        self._apply(text, normalized)
        return PyUnicode_DecodeUTF8(normalized.bytes.data(), normalized.bytes.size(), NULL)

    def places(self, str text):
        """From which character of the text each character of what it becomes is made, as int64."""
        cdef NormalizedText normalized
        self._apply(text, normalized)
        return PyBytes_FromStringAndSize(<const char*>normalized.places.data(), 8 * normalized.places.size())

    cdef int _apply(self, str text, NormalizedText& normalized) except -1:
        cdef bytes encoded = text.encode()
        self.table.get().apply(string_view(<const char*>encoded, len(encoded)), normalized)
        return 0


cdef extern from "encode/byte_trie.h" namespace "fastllm" nogil:
    cdef cppclass ByteTrie:
        ByteTrie() except +
        void build(const Vocabulary&) except +

cdef extern from "normalize/character_map.h" namespace "fastllm" nogil:
    cdef cppclass BlankRules:
        bint add, remove_extra, escape, as_suffix, keeps_blanks

    cdef cppclass CppCharacterMap "fastllm::CharacterMap":
        CppCharacterMap(string_view) except +
        bint has_whole_replacements()
        vector[int64_t] places_of_clusters(Isa, string_view) except +
        void normalize(string_view, const BlankRules&, const ByteTrie*, string&, vector[int64_t]* places) except +

    cdef cppclass TextBuffer:
        string_view text()

    void add_cluster_class(uint16_t bit, uint32_t first, uint32_t last)

cdef extern from "normalize/text_steps.h" namespace "fastllm" nogil:
    enum PrefixRule "fastllm::TextSteps::PrefixRule":
        ALWAYS "fastllm::TextSteps::ALWAYS"
        UNLESS_BLANK "fastllm::TextSteps::UNLESS_BLANK"

    cdef cppclass StepBuffers:
        pass

    cdef cppclass CppTextSteps "fastllm::TextSteps":
        bint knows_places
        void add_clusters(shared_ptr[CppCharacterMap]) except +
        void add_sentencepiece(
            shared_ptr[CppCharacterMap], const BlankRules&, shared_ptr[ByteTrie], const vector[string]& pieces
        ) except +
        void add_strip(bint left, bint right) except +
        void add_squeeze(string_view content) except +
        void add_prefix(string_view prefix, PrefixRule) except +
        string_view apply(Isa, string_view, StepBuffers&) except +


def set_cluster_classes(classes):
    """Fill the table of what grapheme clusters have rules about: runs, first, last, first ..., by a bit each."""
    for bit, runs in classes.items():
        for first, last in zip(runs[::2], runs[1::2]):
            add_cluster_class(bit, first, last)


cdef class CharacterMap:
    """A character map of SentencePiece; `map_clusters` wants the table of clusters filled before."""
    cdef shared_ptr[CppCharacterMap] map
    cdef shared_ptr[ByteTrie] user_defined
    cdef vector[string] pieces  # of the user
    cdef BlankRules blanks
    cdef readonly bint makes_utf8  # what it makes of UTF-8 is UTF-8; else only a `str` can be made of it

    def __init__(self, bytes charsmap, *, user_defined=(), blanks=(True, True, True, False)):
        cdef Vocabulary vocabulary
        cdef bytes piece
        self.map = shared_ptr[CppCharacterMap](new CppCharacterMap(string_view(<const char*>charsmap, len(charsmap))))
        replacements = charsmap[4 + int.from_bytes(charsmap[:4], "little"):]
        self.makes_utf8 = self.map.get().has_whole_replacements() and is_utf8(replacements)
        self.blanks.add, self.blanks.remove_extra, self.blanks.escape, self.blanks.as_suffix = blanks
        self.blanks.keeps_blanks = False
        if len(user_defined) > 0:
            for text in user_defined:
                piece = text.encode()
                vocabulary.add_token(string_view(<const char*>piece, len(piece)), 0)
                self.pieces.push_back(piece)
            self.user_defined = make_shared[ByteTrie]()
            self.user_defined.get().build(vocabulary)

    def map_clusters(self, str text):
        """What the rule of Hugging Face tokenizers makes of a text."""
        steps = TextSteps()
        steps.add_clusters(self)
        return steps.apply(text)

    def places_of_clusters(self, str text):
        """From which character of the text each character of that comes."""
        cdef int isa = isa_number()
        cdef bytes encoded = text.encode()
        return self.map.get().places_of_clusters(<Isa>isa, string_view(<const char*>encoded, len(encoded)))

    def normalize(self, str text):
        """What SentencePiece makes of a text."""
        return self._normalized(text, NULL)

    def places(self, str text):
        """From which character of the text each character of what `normalize` gives comes."""
        cdef vector[int64_t] places
        self._normalized(text, &places)
        return places

    cdef _normalized(self, str text, vector[int64_t]* places):
        cdef string made
        cdef bytes encoded = text.encode()
        self.map.get().normalize(
            string_view(<const char*>encoded, len(encoded)), self.blanks, self.user_defined.get(), made, places
        )
        return PyUnicode_DecodeUTF8(made.data(), made.size(), "replace")


cdef bint is_utf8(bytes data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


cdef class TextSteps:
    """Steps that are done on UTF-8, in the order in which they are added."""
    cdef shared_ptr[CppTextSteps] steps

    def __init__(self):
        self.steps = make_shared[CppTextSteps]()

    def add_clusters(self, CharacterMap map):
        """What the rule of Hugging Face tokenizers makes of a text."""
        self.steps.get().add_clusters(map.map)

    def add_sentencepiece(self, CharacterMap map):
        """What SentencePiece makes of a text, but that blanks are not written "▁"."""
        self.steps.get().add_sentencepiece(map.map, map.blanks, map.user_defined, map.pieces)

    def add_strip(self, bint left, bint right):
        """White space at the ends is left out."""
        self.steps.get().add_strip(left, right)

    def add_squeeze(self, str content):
        """Two blanks or more are replaced by `content`."""
        cdef bytes encoded = content.encode()
        self.steps.get().add_squeeze(string_view(<const char*>encoded, len(encoded)))

    def add_prefix(self, str prefix, bint always):
        """`prefix` is put before a text that is not empty, unless, if it is not `always`, a blank begins it."""
        cdef bytes encoded = prefix.encode()
        self.steps.get().add_prefix(string_view(<const char*>encoded, len(encoded)), ALWAYS if always else UNLESS_BLANK)

    def apply(self, str text):
        """What they make of a text."""
        cdef StepBuffers buffers
        cdef int isa = isa_number()
        cdef bytes encoded = text.encode()
        cdef string_view made = self.steps.get().apply(
            <Isa>isa, string_view(<const char*>encoded, len(encoded)), buffers
        )
        return PyUnicode_DecodeUTF8(made.data(), made.size(), "replace")
