# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: freethreading_compatible=True
# distutils: language = c++
"""Training: count distinct words once, then learn merges on those.

Algorithm. Distinct words lie one after the other in `symbols`, one slot per byte, each word followed by END.
A token of n bytes keeps its n slots and has its id in the first and in the last of them: the right neighbour of
the token at i starts at i + length, the left neighbour's id is in slot i - 1. Merging (p, q) into z writes z into p's
first, q's first and q's last slot.

Every pair has a count and a list of places where it occurs, ascending. A merge only creates neighbours that
contain the new id, and ids are never used twice. So a pair's list is written once, when its younger half is born,
and from then on its count only falls. Two things follow. An entry (place, p, q) still holds if p's first slot
still says p and the slot after p says q: merging overwrites one of them for good. And a heap of (count, tie) may be
wrong only by being too hopeful: a top whose count has fallen since is put back with its count of today.

Ties. "lowest-ids": the pair of ids. "first-seen": the first place in the list that still holds; it only moves
forward, so the same heap serves, with words laid out in the order of first appearance.

Overlaps. "aaa" holds (a, a) twice, and both entries count. Merging goes through the list in ascending order:
after the first merge the second entry no longer holds. In "p q p q" the second merge has z on its left: the
neighbours that the first one noted, (z, p), are corrected to (z, z).

Cost. Time is bound by visits to list entries, each a likely cache miss, in all about twice the number of
symbols; memory is about 16 bytes per byte of distinct words.

Bounds. Places come from lists and lie inside `symbols`; a word has END on both sides, so neighbours exist.

Not varied here, taken from a prototype. Words in descending order of their counts (for ties by ids): the few thousand weights in a row are found
without a look-up per occurrence, and the words that matter most share cache lines. One hash update per distinct
neighbour of a merge instead of one per occurrence.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp
from libcpp.algorithm cimport pop_heap, push_heap, upper_bound
from libcpp.string_view cimport string_view
from libcpp.vector cimport vector

from fastllm.fast._hash cimport hash_bytes
from fastllm.fast._split cimport Family, Scan, family_of, next_end

cdef enum:
    NONE = 0xFFFFFFFF
    END = NONE  # the slot before and after each word: no token
    LARGEST = 0xFFFFFFF0  # slots that 32-bit places can name

cdef extern from *:
    """
    #include <cstdint>
    #include <tuple>
    namespace {
    struct Candidate {
        int64_t count;
        uint64_t tie;
        uint32_t pair;
        // std::push_heap keeps the greatest on top: the highest count, then the lowest tie.
        bool operator<(const Candidate &other) const {
            return std::tie(count, other.tie) < std::tie(other.count, tie);
        }
    };
    }
    """
    cdef struct Candidate:
        int64_t count
        uint64_t tie
        uint32_t pair


cdef struct Word:
    uint64_t hash
    size_t offset
    size_t size
    int64_t count


cdef class WordCounts:
    """How often each distinct word occurs, in the order of first appearance."""
    cdef vector[Word] words
    cdef vector[char] data
    cdef vector[uint32_t] slots  # open addressing, at most half full: number of a word, or NONE

    def __cinit__(self):
        self.slots.assign(1 << 12, <uint32_t>NONE)

    cdef int grow(self) except -1 nogil:
        cdef size_t mask, slot
        cdef uint32_t i
        self.slots.assign(2 * self.slots.size(), <uint32_t>NONE)
        mask = self.slots.size() - 1
        for i in range(<uint32_t>self.words.size()):
            slot = self.words[i].hash & mask
            while self.slots[slot] != NONE:
                slot = (slot + 1) & mask
            self.slots[slot] = i
        return 0

    cdef int add_word(self, string_view word, int64_t count) except -1 nogil:
        cdef uint64_t h = hash_bytes(word.data(), word.size())
        cdef size_t mask = self.slots.size() - 1, slot = h & mask
        cdef Word* seen
        while self.slots[slot] != NONE:
            seen = &self.words[self.slots[slot]]
            if (
                seen.hash == h
                and seen.size == word.size()
                and memcmp(self.data.data() + seen.offset, word.data(), word.size()) == 0
            ):
                seen.count += count
                return 0
            slot = (slot + 1) & mask
        self.slots[slot] = <uint32_t>self.words.size()
        self.words.push_back(Word(h, self.data.size(), word.size(), count))
        self.data.insert(self.data.end(), word.data(), word.data() + word.size())
        if 2 * self.words.size() > self.slots.size():
            self.grow()
        return 0

    cdef int add_pieces(self, Family family, string_view text) except -1 nogil:
        cdef Scan scan = Scan(family, 0)
        cdef Py_ssize_t start = 0, end
        while start < <Py_ssize_t>text.size():
            end = next_end(&scan, text, start)
            self.add_word(text.substr(start, end - start), 1)
            start = end
        return 0

    def add(self, bytes word, int64_t count=1):
        """Count one word."""
        self.add_word(string_view(<const char*>word, len(word)), count)

    def add_text(self, bytes text, pattern):
        """Count the pieces of UTF-8 `text` by a `SplitPattern` that has a scanner."""
        cdef Family family = family_of(pattern)
        cdef string_view view = string_view(<const char*>text, len(text))
        with nogil:
            self.add_pieces(family, view)

    def __len__(self):
        return self.words.size()


cdef struct Pair:
    uint32_t left
    uint32_t right
    int64_t count
    size_t begin  # its places are places[begin:end]; those before head no longer hold
    size_t head
    size_t end


cdef struct Neighbour:
    int64_t weight  # of the merges that have this id on one side
    size_t places
    uint32_t pair  # the new pair with this id
    bint touched


cdef struct Merged:
    uint32_t place
    uint32_t left  # NONE where there is no new pair on that side
    uint32_t right


cdef class Trainer:
    """Learns merges from counted words, a few at a time.

    `byte_order` lists the 256 bytes in the order of their ids; no pair that occurs less than `least` times is
    merged, nor one of more than `longest` bytes.
    """
    cdef bint first_seen
    cdef int64_t least, longest
    cdef vector[uint32_t] symbols
    cdef vector[uint32_t] lengths  # in bytes, by token
    cdef vector[uint32_t] segment_begins  # words of the same count form a segment
    cdef vector[int64_t] segment_weights
    cdef vector[Pair] pairs
    cdef vector[uint32_t] pair_slots  # open addressing, at most half full: number of a pair, or NONE
    cdef vector[uint32_t] places
    cdef vector[Candidate] heap
    cdef vector[Merged] merged
    cdef vector[Neighbour] lefts, rights  # by token; untouched between merges
    cdef vector[uint32_t] touched_lefts, touched_rights
    cdef list tokens
    cdef list learned

    def __init__(self, WordCounts words, bytes byte_order, bint first_seen, int64_t least, int64_t longest):
        self.first_seen = first_seen
        self.least = least
        self.longest = longest
        self.tokens = [byte_order[i : i + 1] for i in range(256)]
        self.learned = []
        self.lengths.assign(256, 1)
        self.lefts.resize(256)
        self.rights.resize(256)
        cdef vector[uint32_t] id_of_byte
        id_of_byte.resize(256)
        for i in range(256):
            id_of_byte[byte_order[i]] = i
        cdef vector[uint32_t] order
        if first_seen:
            order = range(words.words.size())
        else:
            order = sorted(range(words.words.size()), key=[-word.count for word in words.words].__getitem__)
        if words.data.size() + words.words.size() > LARGEST:
            raise OverflowError(f"more than {LARGEST} bytes of distinct words")
        with nogil:
            self.lay_out(words, order, id_of_byte)
            self.count_pairs()

    cdef int lay_out(self, WordCounts words, vector[uint32_t]& order, vector[uint32_t]& id_of_byte) except -1 nogil:
        """Write the words into `symbols`, END before the first and after each."""
        cdef Word* word
        cdef size_t i
        self.symbols.reserve(words.data.size() + words.words.size() + 1)
        self.symbols.push_back(END)
        for number in order:
            word = &words.words[number]
            if self.segment_weights.empty() or self.segment_weights.back() != word.count:
                self.segment_begins.push_back(<uint32_t>self.symbols.size())
                self.segment_weights.push_back(word.count)
            for i in range(word.size):
                self.symbols.push_back(id_of_byte[<uint8_t>words.data[word.offset + i]])
            self.symbols.push_back(END)
        return 0

    cdef size_t segment_of(self, uint32_t place) noexcept nogil:
        return upper_bound(self.segment_begins.begin(), self.segment_begins.end(), place) - self.segment_begins.begin() - 1

    cdef size_t slot_of(self, uint32_t left, uint32_t right) noexcept nogil:
        cdef size_t mask = self.pair_slots.size() - 1
        cdef uint64_t h = (<uint64_t>left << 32 | right) * <uint64_t>0x9E3779B97F4A7C15
        cdef size_t slot = (h ^ h >> 32) & mask
        cdef uint32_t number
        while True:
            number = self.pair_slots[slot]
            if number == NONE or (self.pairs[number].left == left and self.pairs[number].right == right):
                return slot
            slot = (slot + 1) & mask

    cdef uint32_t add_pair(self, uint32_t left, uint32_t right, int64_t count, size_t room) except? NONE nogil:
        """A new pair with `room` places to be written."""
        cdef uint32_t number = <uint32_t>self.pairs.size()
        cdef size_t begin = self.places.size()
        self.pair_slots[self.slot_of(left, right)] = number
        self.pairs.push_back(Pair(left, right, count, begin, begin, begin))
        self.places.resize(begin + room)
        if 2 * self.pairs.size() > self.pair_slots.size():
            self.grow_pairs()
        return number

    cdef int grow_pairs(self) except -1 nogil:
        cdef uint32_t i
        self.pair_slots.assign(2 * self.pair_slots.size(), <uint32_t>NONE)
        for i in range(<uint32_t>self.pairs.size()):
            self.pair_slots[self.slot_of(self.pairs[i].left, self.pairs[i].right)] = i
        return 0

    cdef int write_place(self, uint32_t number, uint32_t place) except -1 nogil:
        cdef Pair* pair = &self.pairs[number]
        self.places[pair.end] = place
        pair.end += 1
        return 0

    cdef bint may_merge(self, uint32_t left, uint32_t right, int64_t count) noexcept nogil:
        """Whether a pair can ever be chosen: counts only fall, so one that is too rare now stays so."""
        return count >= self.least and <int64_t>self.lengths[left] + self.lengths[right] <= self.longest

    cdef int count_pairs(self) except -1 nogil:
        """All pairs of bytes, their counts and places."""
        cdef vector[int64_t] counts
        cdef vector[uint32_t] rooms, numbers
        cdef uint32_t i, left, right
        cdef size_t segment = 0
        counts.assign(1 << 16, 0)
        rooms.assign(1 << 16, 0)
        numbers.assign(1 << 16, <uint32_t>NONE)
        self.pair_slots.assign(1 << 12, <uint32_t>NONE)
        for i in range(1, <uint32_t>self.symbols.size()):
            left, right = self.symbols[i - 1], self.symbols[i]
            if left != END and right != END:
                while segment + 1 < self.segment_begins.size() and self.segment_begins[segment + 1] <= i - 1:
                    segment += 1
                counts[left << 8 | right] += self.segment_weights[segment]
                rooms[left << 8 | right] += 1
        for i in range(1 << 16):
            if rooms[i] and self.may_merge(i >> 8, i & 255, counts[i]):
                numbers[i] = self.add_pair(i >> 8, i & 255, counts[i], rooms[i])
        for i in range(1, <uint32_t>self.symbols.size()):
            left, right = self.symbols[i - 1], self.symbols[i]
            if left != END and right != END and numbers[left << 8 | right] != NONE:
                self.write_place(numbers[left << 8 | right], i - 1)
        for i in range(<uint32_t>self.pairs.size()):
            self.queue(i)
        return 0

    cdef inline bint holds(self, Pair* pair, uint32_t place) noexcept nogil:
        """Whether the pair still occurs at a place of its list."""
        return (
            self.symbols[place] == pair.left
            and self.symbols[place + self.lengths[pair.left]] == pair.right
        )

    cdef uint64_t tie_of(self, Pair* pair) noexcept nogil:
        """What decides between pairs of the same count, the lowest first."""
        if not self.first_seen:
            return <uint64_t>pair.left << 32 | pair.right
        while pair.head < pair.end and not self.holds(pair, self.places[pair.head]):
            pair.head += 1
        return self.places[pair.head] if pair.head < pair.end else <uint64_t>-1

    cdef int queue(self, uint32_t number) except -1 nogil:
        cdef Pair* pair = &self.pairs[number]
        self.heap.push_back(Candidate(pair.count, self.tie_of(pair), number))
        push_heap(self.heap.begin(), self.heap.end())
        return 0

    cdef uint32_t pop_best(self) except? NONE nogil:
        """The pair to merge next, or NONE when nothing is left."""
        cdef Candidate top
        cdef Pair* pair
        while not self.heap.empty():
            top = self.heap.front()
            pop_heap(self.heap.begin(), self.heap.end())
            self.heap.pop_back()
            pair = &self.pairs[top.pair]
            if pair.count == top.count and self.tie_of(pair) == top.tie:
                return top.pair
            if pair.count >= self.least:
                self.queue(top.pair)
        return NONE

    cdef int touch(self, vector[Neighbour]& side, vector[uint32_t]& touched, uint32_t token, int64_t weight) except -1 nogil:
        if not side[token].touched:
            side[token] = Neighbour(0, 0, NONE, True)
            touched.push_back(token)
        side[token].weight += weight
        side[token].places += 1
        return 0

    cdef int merge(self, uint32_t number) except -1 nogil:
        """Merge one pair everywhere into a new token, and bring counts and lists up to date."""
        cdef Pair pair = self.pairs[number]
        cdef uint32_t p = pair.left, q = pair.right, z = <uint32_t>self.lengths.size()
        cdef uint32_t p_length = self.lengths[p], length = p_length + self.lengths[q]
        cdef uint32_t place, left, right, token
        cdef size_t i, segment = self.segment_of(self.places[pair.begin])
        cdef int64_t weight
        cdef Neighbour both = Neighbour(0, 0, NONE, False)  # z on both sides
        self.lengths.push_back(length)
        self.lefts.resize(z + 1)
        self.rights.resize(z + 1)
        self.merged.clear()
        for i in range(pair.head, pair.end):
            place = self.places[i]
            if not self.holds(&pair, place):
                continue
            while segment + 1 < self.segment_begins.size() and self.segment_begins[segment + 1] <= place:
                segment += 1
            weight = self.segment_weights[segment]
            left, right = self.symbols[place - 1], self.symbols[place + length]
            self.symbols[place] = z
            self.symbols[place + p_length] = z
            self.symbols[place + length - 1] = z
            if left == z:
                # The merge just before noted (z, p) on its right; it is (z, z) now.
                self.merged.back().right = z
                self.rights[p].weight -= weight
                self.rights[p].places -= 1
                both.weight += weight
                both.places += 1
                left = NONE
            elif left != END:
                self.touch(self.lefts, self.touched_lefts, left, weight)
            if right != END:
                self.touch(self.rights, self.touched_rights, right, weight)
            self.merged.push_back(Merged(place, left, right))
        self.pairs[number].count = 0
        for token in self.touched_lefts:
            self.change(token, p, -self.lefts[token].weight, number)
            self.lefts[token].pair = self.create(token, z, self.lefts[token])
        for token in self.touched_rights:
            # What became (z, z) was (q, p) before.
            weight = self.rights[token].weight + (both.weight if token == p else 0)
            self.change(q, token, -weight, number)
            self.rights[token].pair = self.create(z, token, self.rights[token])
        if both.places:
            both.pair = self.create(z, z, both)
        self.write_lists(z, both.pair)
        for token in self.touched_lefts:
            self.lefts[token].touched = False
        for token in self.touched_rights:
            self.rights[token].touched = False
        self.touched_lefts.clear()
        self.touched_rights.clear()
        return 0

    cdef int change(self, uint32_t left, uint32_t right, int64_t by, uint32_t merged) except -1 nogil:
        """Lower the count of a pair that lost occurrences; the merged pair itself has none left."""
        cdef uint32_t number = self.pair_slots[self.slot_of(left, right)]
        if number != NONE and number != merged:
            self.pairs[number].count += by
        return 0

    cdef uint32_t create(self, uint32_t left, uint32_t right, Neighbour side) except? NONE nogil:
        """A pair that the new token is part of, unless it can never be chosen."""
        if side.places == 0 or not self.may_merge(left, right, side.weight):
            return NONE
        return self.add_pair(left, right, side.weight, side.places)

    cdef int write_lists(self, uint32_t z, uint32_t both) except -1 nogil:
        """Fill the lists of the new pairs, in ascending order, and queue the pairs."""
        cdef uint32_t number
        cdef size_t first = self.pairs.size()
        for record in self.merged:
            if record.left != NONE:
                number = self.lefts[record.left].pair
                if number != NONE:
                    self.write_place(number, record.place - self.lengths[record.left])
                    first = min(first, <size_t>number)
            if record.right != NONE:
                number = both if record.right == z else self.rights[record.right].pair
                if number != NONE:
                    self.write_place(number, record.place)
                    first = min(first, <size_t>number)
        for number in range(<uint32_t>first, <uint32_t>self.pairs.size()):
            self.queue(number)
        return 0

    def learn(self, Py_ssize_t most):
        """Learn up to `most` merges; returns how many, fewer only when nothing is left to merge."""
        cdef vector[uint32_t] chosen
        cdef uint32_t number
        with nogil:
            while <Py_ssize_t>chosen.size() < most:
                number = self.pop_best()
                if number == NONE:
                    break
                self.merge(number)
                chosen.push_back(number)
        for number in chosen:
            left = self.tokens[self.pairs[number].left]
            right = self.tokens[self.pairs[number].right]
            self.learned.append((left, right))
            self.tokens.append(left + right)
        return <Py_ssize_t>chosen.size()

    def merges(self):
        """The merges learned so far, in order."""
        return list(self.learned)
