// CharacterMap: what SentencePiece's maps make of a text, by its own rule or by that of Hugging Face tokenizers.
// `fastllm.reference.character_map` says what a map is, and how the rules differ.
//
// Algorithm. What each character of ASCII becomes, where another follows, is known beforehand, and is one byte nearly
// always: whole runs go through plain_runs.h. What is known of every other character is a table of entries:
//
//     page_of_     code point >> 6 -> page             entries_    page << 6 | code point & 63 -> entry
//     entry        number of what it becomes << 8 | MADE | LONGER | SECOND | ...
//
// Most characters stay, or become something by themselves. Only where a longer key may begin, or a cluster may be of
// more than one character, is the trie walked: SentencePiece's rule goes from every character as far as it goes; the
// other rule cluster by cluster (`ClusterWalk`).
//
// Invariants. A place behind the trie, or behind the replacements, is never read: it ends a key, or is nothing.
//
// Cost. ASCII: see plain_runs.h. Others: two look-ups. Filling the table of nmt_nfkc takes some 10 ms.

#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "encode/byte_trie.h"
#include "encode/dispatch.h"
#include "split/characters.h"

namespace fastllm {

// Classes of characters, by the rules of grapheme clusters.
enum ClusterClass : uint16_t {
    CONTROL_CLASS = 1,
    EXTEND_CLASS = 2,
    SPACING_CLASS = 4,
    PREPEND_CLASS = 8,
    PICTURE_CLASS = 16,
    CONSONANT_CLASS = 32,
    LINKER_CLASS = 64,
    BETWEEN_CLASS = 128,  // may stand between consonants
    HANGUL_L_CLASS = 256,
    HANGUL_V_CLASS = 512,
    HANGUL_T_CLASS = 1024,
};

// The classes of all characters: one array, filled once from Python.
inline std::vector<uint16_t> &cluster_classes() {
    static std::vector<uint16_t> classes(0x110000, 0);
    return classes;
}

inline void add_cluster_class(uint16_t bit, uint32_t first, uint32_t last) {
    for (uint32_t c = first; c <= last; c++) cluster_classes()[c] |= bit;
}

// What has been seen of a text, as far as it says whether a cluster ends before the next character.
class ClusterWalk {
  public:
    // Whether a cluster ends before `character`; goes on to behind it.
    bool ends_before(uint32_t character) {
        const uint16_t classes = cluster_classes()[character];
        const bool joined = is_joined(character, classes);
        const bool is_flag = character - 0x1F1E6 <= 25;
        flags_ = is_flag ? flags_ + 1 : 0;
        if (classes & PICTURE_CLASS) {
            picture_ = 1;
        } else if (!(classes & EXTEND_CLASS)) {
            picture_ = character == JOINER && picture_ == 1 ? 2 : 0;
        } else if (picture_ == 2) {
            picture_ = 0;
        }
        if (classes & CONSONANT_CLASS) {
            consonant_ = 1;
        } else if (consonant_ && (classes & BETWEEN_CLASS || character == JOINER)) {
            if (classes & LINKER_CLASS) consonant_ = 2;
        } else {
            consonant_ = 0;
        }
        before_ = character;
        classes_ = classes;
        return !joined;
    }

  private:
    static constexpr uint32_t JOINER = 0x200D;

    uint32_t before_ = '\n';  // the beginning of a text is as the beginning of a line
    uint16_t classes_ = CONTROL_CLASS;
    uint32_t flags_ = 0;  // letters of flags in a row
    int picture_ = 0;     // behind one and what extends it: 1; behind a joiner after that: 2
    int consonant_ = 0;   // behind one and what may stand between: 1; with a sign that joins among them: 2

    bool is_joined(uint32_t character, uint16_t classes) const {
        if (before_ == '\r' && character == '\n') return true;
        const auto is_control = [](uint32_t c, uint16_t its) { return c == '\r' || c == '\n' || its & CONTROL_CLASS; };
        if (is_control(before_, classes_) || is_control(character, classes)) return false;
        if (classes & (EXTEND_CLASS | SPACING_CLASS) || character == JOINER || classes_ & PREPEND_CLASS) return true;
        if (classes & CONSONANT_CLASS && consonant_ == 2) return true;
        if (classes & PICTURE_CLASS && picture_ == 2) return true;
        if (character - 0x1F1E6 <= 25 && flags_ % 2 == 1) return true;
        return is_syllable(character, classes);
    }

    bool is_syllable(uint32_t character, uint16_t classes) const {
        const bool whole = before_ - 0xAC00 < 11172, open = whole && (before_ - 0xAC00) % 28 == 0;
        if (classes_ & HANGUL_L_CLASS) {
            return classes & (HANGUL_L_CLASS | HANGUL_V_CLASS) || character - 0xAC00 < 11172;
        }
        if (classes_ & HANGUL_V_CLASS || open) return classes & (HANGUL_V_CLASS | HANGUL_T_CLASS);
        return (classes_ & HANGUL_T_CLASS || whole) && classes & HANGUL_T_CLASS;
    }
};

// Text that is being written: memory that grows and is kept.
struct TextBuffer {
    std::unique_ptr<char[]> data;
    size_t size = 0, capacity = 0;

    // Where to write next: there is room for `count` bytes.
    char *room(size_t count) {
        if (capacity - size < count) {
            const size_t larger = size + count + size / 2;
            std::unique_ptr<char[]> memory(new char[larger]);
            if (size) std::memcpy(memory.get(), data.get(), size);
            data.swap(memory);
            capacity = larger;
        }
        return data.get() + size;
    }
    void append(std::string_view text) {
        char *const to = room(text.size());
        if (!text.empty()) std::memcpy(to, text.data(), text.size());
        size += text.size();
    }
    std::string_view text() const { return {data.get(), size}; }
};

// From which byte of a text each byte of what is made of it comes: the first of a character.
class Places {
  public:
    size_t size() const { return size_; }
    uint32_t *data() { return data_.get(); }
    size_t bytes_held() const { return 4 * capacity_; }
    void clear() { size_ = 0; }
    void shorten(size_t size) { size_ = std::min(size_, size); }

    // Where to write next: there is room for `count` places.
    uint32_t *room(size_t count) {
        if (capacity_ - size_ < count) {
            const size_t larger = size_ + count + size_ / 2;
            std::unique_ptr<uint32_t[]> memory(new uint32_t[larger]);
            if (size_) std::memcpy(memory.get(), data_.get(), 4 * size_);
            data_.swap(memory);
            capacity_ = larger;
        }
        return data_.get() + size_;
    }
    // `count` bytes that come from the one at `place`.
    void add(uint32_t place, size_t count) {
        uint32_t *const to = room(count);
        for (size_t i = 0; i < count; i++) to[i] = place;
        size_ += count;
    }
    // `count` bytes that come from those at `first` and behind it.
    void add_run(uint32_t first, size_t count) {
        uint32_t *const to = room(count);
        for (size_t i = 0; i < count; i++) to[i] = first + uint32_t(i);
        size_ += count;
    }
    // `count` places that have been written.
    void take(size_t count) { size_ += count; }

  private:
    std::unique_ptr<uint32_t[]> data_;
    size_t size_ = 0, capacity_ = 0;
};

// Where what is made of a text, part by part, comes from, as Hugging Face tokenizers counts (`places_of` of the
// reference says how).
class PlacesOfParts {
  public:
    PlacesOfParts(std::string_view text, Places *found) : text_(text), found_(found) {}

    // `size` bytes of the text, at `i`, stay as they are.
    void keep(size_t i, size_t size) {
        if (size == 0) return;
        if (next_ == i) {
            found_->add_run(uint32_t(i), size);
            next_ += size;
        } else {
            for (const size_t end = i + size; i < end; next_ = behind(next_)) {
                const size_t start = i;
                i = behind(i);
                found_->add(uint32_t(next_), i - start);
            }
        }
        added_ = 0;
    }

    void replace(std::string_view part, std::string_view made) {
        if (made.empty()) {
            if (found_->size() == 0) return;
            if (added_) found_->shorten(found_->size() - added_), found_->add(uint32_t(next_), added_);
        }
        size_t left = 0;  // characters of `part` that nothing was made of
        for (const char byte : part) left += !is_continuation(uint8_t(byte));
        added_ = 0;
        size_t place = next_;
        for (size_t i = 0, end; i < made.size(); i = end) {
            end = i + 1;
            while (end < made.size() && is_continuation(uint8_t(made[end]))) end++;
            added_ = left ? 0 : end - i;
            if (left) place = next_, next_ = behind(next_), left--;
            found_->add(uint32_t(place), end - i);
        }
        while (left--) next_ = behind(next_);
    }

  private:
    std::string_view text_;
    Places *found_;
    size_t next_ = 0;   // where the next character comes from
    size_t added_ = 0;  // bytes of the last character, if it is more than there had been

    size_t behind(size_t i) const {
        do i++;
        while (i < text_.size() && is_continuation(uint8_t(text_[i])));
        return i;
    }
};

// What SentencePiece does with blanks.
struct BlankRules {
    bool add = true, remove_extra = true, escape = true, as_suffix = false;
    bool keeps_blanks = false;  // they are not written "▁" here, but read so later
};

class CharacterMap {
  public:
    explicit CharacterMap(std::string_view charsmap) {
        if (!charsmap.empty()) read_trie(charsmap);
        for (uint8_t byte = 1; byte < 128; byte++) begins_keys_[byte] = begins_ascii_keys(byte);
        fill_entries();
        fill_plain_text();
    }

    // Append what the rule of Hugging Face tokenizers makes of valid UTF-8 `text`. Where all is plain, it does not matter
    // where clusters end. `places`, if it is not null, gets for each byte the place of what it comes from.
    void map_clusters(Isa isa, std::string_view text, TextBuffer &out, Places *places) const {
        PlacesOfParts parts(text, places);
        const auto map = [&](size_t i, size_t end) {
            const std::string_view cluster = text.substr(i, end - i);
            if (!places) return map_cluster(cluster, out);
            map_parts(cluster, [&](std::string_view part, std::string_view made) {
                out.append(made);
                parts.replace(part, made);
            });
        };
        for (size_t i = 0; i < text.size();) {
            char *const to = out.room(text.size() - i + PLAIN_PADDING);
            const size_t plain = encode::copy_plain(isa, plain_alone_, text.data() + i, text.size() - i, to);
            const size_t end = i + plain, start = end < text.size() ? cluster_start(text, i, end) : end;
            out.size += start - i;
            if (places) parts.keep(i, start - i);
            i = end < text.size() ? map_clusters_up_to(text, start, end, map) : end;
        }
    }

    // Append what SentencePiece makes of valid UTF-8 `text`, but that blanks are not written "▁"; pieces of the user, a
    // trie or null, stay as they are, and `plain` is `plain_for` them. `places`, if it is not null, gets for each byte the
    // place of what it comes from; not where the rules put a blank behind the text.
    void normalize_keeping_blanks(Isa isa, std::string_view text, const BlankRules &blanks, const PlainText &plain,
                                  const ByteTrie *user_defined, TextBuffer &out, Places *places) const {
        const size_t begin = out.size;
        bool behind_blank = blanks.remove_extra, nothing_yet = true;
        for (size_t i = 0; i < text.size();) {
            if (!nothing_yet) {
                const bool behind = behind_blank;
                const size_t size = copy_plain_run(isa, text.substr(i), plain, blanks.remove_extra, behind_blank, out);
                if (places) add_plain_places(text.substr(i, size), i, plain, out.size - begin, behind, *places);
                i += size;
                if (i == text.size()) break;
            }
            const Found found = find_longest(text.substr(i), user_defined);
            std::string_view part = found.text;
            i += found.size;
            if (i < text.size() && is_continuation(uint8_t(text[i]))) {
                throw std::invalid_argument("a key of the character map ends inside a character");
            }
            if (nothing_yet && blanks.remove_extra && part == " ") continue;
            if (nothing_yet && blanks.add && !blanks.as_suffix) out.append(" ");
            nothing_yet = false;
            while (behind_blank && !part.empty() && part[0] == ' ') part.remove_prefix(1);
            out.append(part);
            if (places) places->add(uint32_t(i - found.size), out.size - begin - places->size());
            if (!part.empty()) behind_blank = part.back() == ' ' && blanks.remove_extra;
        }
        if (nothing_yet) return;
        while (blanks.remove_extra) {
            const std::string_view made = out.text().substr(begin);
            const bool ends_with_mark =
                blanks.escape && made.size() >= BLANK.size() && made.substr(made.size() - BLANK.size()) == BLANK;
            if (!ends_with_mark && (made.empty() || made.back() != ' ')) break;
            out.size -= ends_with_mark ? BLANK.size() : 1;
        }
        if (places) places->shorten(out.size - begin);
        if (blanks.add && blanks.as_suffix) out.append(" ");
    }

    // Whether no replacement begins inside a character.
    bool has_whole_replacements() const {
        for (size_t state = 0; state < trie_.size(); state++) {
            const uint32_t unit = trie_[state];
            if (unit >> 31 || !(unit >> 8 & 1)) continue;
            const size_t value = state ^ step_of(unit);
            if (value >= trie_.size()) continue;
            const std::string_view text = replacement_at(trie_[value] & 0x7FFFFFFF);
            if (!text.empty() && is_continuation(uint8_t(text[0]))) return false;
        }
        return true;
    }

    // What becomes of bytes of ASCII by SentencePiece's rule, if pieces of the user stay as they are.
    PlainText plain_for(const std::vector<std::string> &user_defined) const {
        PlainText plain = plain_first_;
        int length;
        for (const std::string &piece : user_defined) {
            if (piece.empty()) continue;
            const uint32_t first = decode_at(piece, 0, length);
            if (first < 0x80) plain.becomes[first] = PlainText::NOT_PLAIN;
            plain.others[first >> 6] |= uint64_t(1) << (first & 63);
        }
        plain.finish();
        return plain;
    }

    // From which character of valid UTF-8 `text` each character comes of what `map_clusters` makes of it.
    std::vector<int64_t> places_of_clusters(Isa isa, std::string_view text) const {
        TextBuffer made;
        Places places;
        map_clusters(isa, text, made, &places);
        std::vector<int64_t> found;
        int64_t character = 0;
        size_t counted = 0;  // bytes of `text` before `character`
        for (size_t i = 0; i < made.size; i++) {
            if (is_continuation(uint8_t(made.data[i]))) continue;
            const size_t place = places.data()[i];
            character += characters_in(text.substr(counted, place - counted));
            counted = place;
            found.push_back(character);
        }
        return found;
    }

    // Append what SentencePiece makes of valid UTF-8 `text`; pieces of the user, a trie or null, stay as they are.
    void normalize(std::string_view text, const BlankRules &blanks, const ByteTrie *user_defined, std::string &out,
                   std::vector<int64_t> *places) const {
        const std::string_view blank = blanks.escape && !blanks.keeps_blanks ? BLANK : " ";
        const size_t begin = out.size();
        bool behind_blank = blanks.remove_extra, nothing_yet = true;
        int64_t place = 0, end = 0;
        for (; !text.empty(); place = end) {
            const Found found = find_longest(text, user_defined);
            std::string_view part = found.text;
            if (places) end = place + characters_in(text.substr(0, found.size));
            text.remove_prefix(found.size);
            if (nothing_yet && blanks.remove_extra && part == " ") continue;
            if (nothing_yet && blanks.add && !blanks.as_suffix) {
                out += blank;
                if (places) places->push_back(place);
            }
            nothing_yet = false;
            while (behind_blank && !part.empty() && part[0] == ' ') part.remove_prefix(1);
            append(part, blank, out);
            if (places) places->insert(places->end(), size_t(characters_in(part)), place);
            if (!part.empty()) behind_blank = part.back() == ' ' && blanks.remove_extra;
        }
        if (nothing_yet) return;
        while (blanks.remove_extra && remove_last_blank(blanks, begin, out)) {
            if (places) end = places->back(), places->pop_back();
        }
        if (blanks.add && blanks.as_suffix) {
            out += blank;
            if (places) places->push_back(end);
        }
    }

  private:
    static constexpr std::string_view BLANK = "\xE2\x96\x81";

    // What becomes of the first `size` bytes.
    struct Found {
        size_t size;
        std::string_view text;
    };

    std::vector<uint32_t> trie_;
    std::string replacements_;
    bool begins_keys_[128] = {};

    void read_trie(std::string_view charsmap) {
        uint32_t size;
        std::memcpy(&size, charsmap.data(), 4);
        if (size == 0 || size % 4 || size > charsmap.size() - 4) throw std::invalid_argument("no character map");
        trie_.resize(size / 4);
        std::memcpy(trie_.data(), charsmap.data() + 4, size);
        replacements_ = std::string(charsmap.substr(4 + size));
    }

    // ---- entries

    enum : uint32_t {
        MADE = 1,    // the only key that begins here and ends in this character is the character
        LONGER = 2,  // a key goes on behind it
        SECOND = 4,  // it may be the second of a key
        ASK = 8,     // a key ends inside of it: the trie has to be walked
        JOINS = 16,  // it belongs to the cluster before it
        LINKS = 32,  // so, but there are more rules about it
        ALONE = 64,  // it begins a cluster, which ends before what does not join
        HARD = 128,  // no ASCII, but ASCII may be the second of a key behind it
    };

    std::vector<uint16_t> page_of_;
    std::vector<uint32_t> entries_;
    std::vector<std::string_view> made_;  // in `replacements_`
    PlainText plain_alone_, plain_first_;  // by the rule of clusters; by SentencePiece's

    uint32_t entry(uint32_t c) const { return entries_[size_t(page_of_[c >> 6]) << 6 | (c & 63)]; }
    std::string_view made(uint32_t entry) const { return made_[entry >> 8]; }

    void fill_entries() {
        std::vector<uint32_t> all(0x110000, 0);
        const std::vector<uint16_t> &of_clusters = cluster_classes();
        for (uint32_t c = 0; c < 0x110000; c++) all[c] = cluster_flags(c, of_clusters[c]);
        if (!trie_.empty()) {
            const uint32_t root = step_of(trie_[0]);
            for_each_character(root, [&](uint32_t c, uint32_t state, bool ends) {
                if (ends) {
                    all[c] |= uint32_t(made_.size()) << 8 | MADE;
                    made_.push_back(replacement_at(trie_[state] & 0x7FFFFFFF));
                }
                bool goes_on = false, next_ends;
                for (uint32_t byte = 1; byte < 256 && !goes_on; byte++) {
                    uint32_t behind = state;
                    goes_on = step(behind, uint8_t(byte), next_ends);
                }
                if (!goes_on) return;
                all[c] |= LONGER;
                for_each_character(
                    state,
                    [&](uint32_t second, uint32_t, bool) {
                        all[second] |= SECOND;
                        if (c >= 0x80 && second < 0x80) all[c] |= HARD;
                    },
                    [&](uint32_t first, uint32_t last) {
                        for (uint32_t second = first; second <= last; second++) all[second] |= SECOND;
                    });
            }, [&](uint32_t first, uint32_t last) {
                for (uint32_t c = first; c <= last; c++) all[c] |= ASK;
            });
        }
        entries_.assign(all.begin() + 0x4E00, all.begin() + 0x4E40);  // most pages are as this one is
        for (size_t first = 0; first < all.size(); first += 64) {
            const bool usual = std::equal(entries_.begin(), entries_.begin() + 64, all.begin() + ptrdiff_t(first));
            page_of_.push_back(uint16_t(usual ? 0 : entries_.size() / 64));
            if (!usual) entries_.insert(entries_.end(), all.begin() + ptrdiff_t(first), all.begin() + ptrdiff_t(first) + 64);
        }
    }

    static uint32_t cluster_flags(uint32_t c, uint16_t its) {
        if (c == 0x200D) return JOINS | LINKS;
        if (its & (EXTEND_CLASS | SPACING_CLASS)) return JOINS | (its & LINKER_CLASS ? uint32_t(LINKS) : 0);
        if (its & (HANGUL_V_CLASS | HANGUL_T_CLASS)) return JOINS | LINKS;
        const bool is_flag = c - 0x1F1E6 <= 25;
        if (its & (CONTROL_CLASS | PREPEND_CLASS | HANGUL_L_CLASS) || c == '\r' || c == '\n' || is_flag) return 0;
        return ALONE;
    }

    // Call `use(c, state, ends)` for each character behind `root` in the trie, with the state behind it and whether a
    // key ends there; and `inside(first, last)` for those in the middle of which one ends.
    template <typename Use, typename Inside>
    void for_each_character(uint32_t root, Use use, Inside inside) const {
        for (uint32_t lead = 1; lead < 0xF5; lead++) {
            if (lead >= 0x80 && lead < 0xC2) continue;
            uint32_t state = root;
            bool ends;
            if (!step(state, uint8_t(lead), ends)) continue;
            const int left = lead < 0x80 ? 0 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3;
            complete(state, ends, lead & (left == 0 ? 0x7F : 0x3F >> left), left, use, inside);
        }
    }

    template <typename Use, typename Inside>
    void complete(uint32_t state, bool ends, uint32_t bits, int left, Use &use, Inside &inside) const {
        const uint32_t first = bits << 6 * left;
        if (first >= 0x110000) return;
        if (left == 0) return use(bits, state, ends);
        if (ends) inside(first, std::min<uint32_t>(first | ((1u << 6 * left) - 1), 0x10FFFF));
        for (uint32_t byte = 0x80; byte < 0xC0; byte++) {
            uint32_t next = state;
            bool next_ends;
            if (step(next, uint8_t(byte), next_ends)) complete(next, next_ends, bits << 6 | (byte & 63), left - 1, use, inside);
        }
    }

    void fill_plain_text() {
        std::vector<uint64_t> others(page_of_.size(), 0);
        for (uint32_t c = 0x80; c < 0x110000; c++) {
            others[c >> 6] |= uint64_t((entry(c) & (MADE | SECOND | ASK | HARD)) != 0) << (c & 63);
        }
        plain_alone_.others = plain_first_.others = others;
        for (uint32_t byte = 0; byte < 128; byte++) {
            const uint32_t its = entry(byte);
            uint8_t becomes = uint8_t(byte);
            if (its & MADE) {
                const bool one = made(its).size() == 1 && uint8_t(made(its)[0]) < 0x80;
                becomes = one ? uint8_t(made(its)[0]) : PlainText::NOT_PLAIN;
            }
            const bool rolls_back = becomes == ' ' && its & LONGER;
            // What is replaced takes the marks behind it along, unless no mark joins it.
            const bool joined = its & MADE && byte != '\n' && !(cluster_classes()[byte] & CONTROL_CLASS);
            plain_alone_.becomes[byte] = byte == '\r' || joined ? PlainText::NOT_PLAIN : becomes;
            plain_first_.becomes[byte] = begins_keys_[byte] || rolls_back ? PlainText::NOT_PLAIN : becomes;
        }
        plain_alone_.finish();
        plain_first_.finish();
    }

    // The places of what `copy_plain_run` has made of `run`, at `place` of the text: `size` bytes in all have been made.
    static void add_plain_places(std::string_view run, size_t place, const PlainText &plain, size_t size,
                                 bool behind_blank, Places &places) {
        if (size - places.size() == run.size()) return places.add_run(uint32_t(place), run.size());
        for (size_t i = 0; i < run.size(); i++) {
            const uint8_t byte = uint8_t(run[i]);
            const bool is_blank = byte < 0x80 && plain.becomes[byte] == ' ';
            if (!is_blank || !behind_blank) places.add(uint32_t(place + i), 1);
            behind_blank = is_blank;
        }
    }

    // ---- without places

    // Append what becomes of the ASCII that `text` begins with; returns its size.
    size_t copy_plain_run(Isa isa, std::string_view text, const PlainText &plain, bool squeezes, bool &behind_blank,
                          TextBuffer &out) const {
        char *const from = out.room(text.size() + PLAIN_PADDING), *to = from;
        size_t size;
        if (squeezes) {
            size = encode::copy_plain_squeezed(isa, plain, text.data(), text.size(), to, behind_blank);
        } else {
            size = encode::copy_plain(isa, plain, text.data(), text.size(), to);
            to += size;
        }
        out.size += size_t(to - from);
        if (size == 0 || size == text.size()) return size;
        int length;
        if (!(entry(decode_at(text, size, length)) & SECOND)) return size;
        const size_t last = characters_back(text, size, 1);
        if (!(entry(decode_at(text, last, length)) & LONGER)) return size;
        out.size -= size - last;  // the last, which is no blank, may be a key with what comes behind it
        behind_blank = squeezes && out.size > 0 && out.data[out.size - 1] == ' ';
        return last;
    }

    // Where the cluster begins that the character at `i` may belong to, or one before it; a cluster begins at `first`.
    size_t cluster_start(std::string_view text, size_t first, size_t i) const {
        constexpr uint32_t SIMPLE = ALONE | JOINS;
        int length;
        uint32_t its = entry(decode_at(text, i, length));
        while (i > first) {
            const size_t before = characters_back(text, i, 1);
            const uint32_t earlier = entry(decode_at(text, before, length));
            // Before a character that does not join, and behind one that would not join it, a cluster begins.
            if (!(its & JOINS) && (earlier & SIMPLE) == ALONE) return i;
            i = before;
            its = earlier;
        }
        return i;
    }

    // Call `map(begin, end)` for the clusters from `i` on to behind the one with the character at `last` in it; returns
    // where it ends.
    template <typename Map>
    size_t map_clusters_up_to(std::string_view text, size_t i, size_t last, const Map &map) const {
        int length, next_length;
        while (i <= last && i < text.size()) {
            const uint32_t its = entry(decode_at(text, i, length));
            size_t end = i + size_t(length);
            uint32_t next = 0;
            while (end < text.size() && (next = entry(decode_at(text, end, next_length))) & JOINS && !(next & LINKS)) {
                end += size_t(next_length);
            }
            if (!(its & ALONE) || (end < text.size() && next & LINKS)) {
                i = map_by_walk(text, i, map);
            } else {
                map(i, end);
                i = end;
            }
        }
        return i;
    }

    // The same for clusters about which there are more rules, up to a character that stands for itself.
    template <typename Map>
    size_t map_by_walk(std::string_view text, size_t i, const Map &map) const {
        ClusterWalk walk;
        int length;
        walk.ends_before(decode_at(text, i, length));
        for (size_t end = i + size_t(length); end < text.size(); end += size_t(length)) {
            const uint32_t c = decode_at(text, end, length);
            if (!walk.ends_before(c)) continue;
            map(i, end);
            i = end;
            if (entry(c) & ALONE) return i;
        }
        map(i, text.size());
        return text.size();
    }

    void map_cluster(std::string_view cluster, TextBuffer &out) const {
        int length;
        const uint32_t first = entry(decode_at(cluster, 0, length));
        if (cluster.size() < 6 && first & (MADE | LONGER | ASK)) {
            if ((first & (MADE | ASK)) == MADE) return out.append(made(first));
            const Found found = find(cluster, true);
            if (found.size) return out.append(found.text);
        }
        for (size_t i = 0; i < cluster.size(); i += size_t(length)) {
            const uint32_t its = entry(decode_at(cluster, i, length));
            append_character(cluster.substr(i, size_t(length)), its, out);
        }
    }

    void append_character(std::string_view character, uint32_t its, TextBuffer &out) const {
        if (its & ASK) {
            const Found found = find(character, true);
            out.append(found.size ? found.text : character);
        } else if (its & MADE) {
            out.append(made(its));
        } else {
            char *const to = out.room(4);
            for (size_t i = 0; i < character.size(); i++) to[i] = character[i];
            out.size += character.size();
        }
    }

    static uint32_t step_of(uint32_t unit) { return unit >> 10 << ((unit & (1u << 9)) >> 6); }

    // The state behind `byte` of `state`; false if there is none.
    bool step(uint32_t &state, uint8_t byte, bool &ends) const {
        const uint32_t next = state ^ byte;
        if (byte == 0 || next >= trie_.size() || (trie_[next] & 0x800000FF) != byte) return false;
        state = next ^ step_of(trie_[next]);
        ends = trie_[next] >> 8 & 1 && state < trie_.size();
        return true;
    }

    // The shortest or the longest key at the beginning of `text`; a size of 0 if there is none.
    Found find(std::string_view text, bool shortest) const {
        Found found{0, {}};
        if (trie_.empty()) return found;
        uint32_t state = step_of(trie_[0]);
        bool ends;
        for (size_t i = 0; i < text.size() && step(state, uint8_t(text[i]), ends); i++) {
            if (!ends) continue;
            found = {i + 1, replacement_at(trie_[state] & 0x7FFFFFFF)};
            if (shortest) break;
        }
        return found;
    }

    std::string_view replacement_at(size_t place) const {
        if (place >= replacements_.size()) return {};
        return {replacements_.data() + place, strnlen(replacements_.data() + place, replacements_.size() - place)};
    }

    bool begins_ascii_keys(uint8_t byte) const {
        if (trie_.empty()) return false;
        uint32_t state = step_of(trie_[0]);
        bool ends;
        if (!step(state, byte, ends)) return false;
        for (uint8_t next = 1; next < 128; next++) {
            uint32_t behind = state;
            if (step(behind, next, ends)) return true;
        }
        return false;
    }

    // Call `use(part, made)` for the parts of a cluster, and what becomes of them.
    template <typename Use>
    void map_parts(std::string_view cluster, const Use &use) const {
        if (cluster.size() < 6) {
            const Found found = find(cluster, true);
            if (found.size) return use(cluster, found.text);
        }
        int length;
        for (size_t i = 0; i < cluster.size(); i += size_t(length)) {
            decode_at(cluster, i, length);
            const std::string_view character = cluster.substr(i, size_t(length));
            const Found found = find(character, true);
            use(character, found.size ? found.text : character);
        }
    }

    static int64_t characters_in(std::string_view text) {
        int64_t count = 0;
        for (const char byte : text) count += !is_continuation(uint8_t(byte));
        return count;
    }

    Found find_longest(std::string_view text, const ByteTrie *user_defined) const {
        if (user_defined) {
            size_t size = 0;
            uint32_t node = ByteTrie::ROOT;
            for (size_t i = 0; i < text.size();) {
                node = user_defined->step(node, uint8_t(text[i++]));
                if (node == NONE) break;
                if (user_defined->value(node) != NONE) size = i;
            }
            if (size) return {size, text.substr(0, size)};
        }
        int length, next_length;
        const uint32_t its = entry(decode_at(text, 0, length));
        const size_t size = std::min(size_t(length), text.size());
        if (its & ASK || (its & LONGER && size < text.size() && entry(decode_at(text, size, next_length)) & SECOND)) {
            const Found found = find(text, false);
            if (found.size) return found;
        } else if (its & MADE) {
            return {size, made(its)};
        }
        return {size, text.substr(0, size)};
    }

    static void append(std::string_view part, std::string_view blank, std::string &out) {
        if (part.size() == 1 && part[0] != ' ') {
            out += part[0];
            return;
        }
        for (const char byte : part) {
            if (byte == ' ') {
                out += blank;
            } else {
                out += byte;
            }
        }
    }

    // Take a blank off the end of what has been made since `begin`; false if there is none.
    static bool remove_last_blank(const BlankRules &blanks, size_t begin, std::string &out) {
        const std::string_view made = std::string_view(out).substr(begin);
        auto ends_with = [&](std::string_view end) {
            return made.size() >= end.size() && made.substr(made.size() - end.size()) == end;
        };
        size_t size = 0;
        if (blanks.escape && ends_with(BLANK)) size = BLANK.size();
        if ((!blanks.escape || blanks.keeps_blanks) && ends_with(" ")) size = 1;
        out.resize(out.size() - size);
        return size > 0;
    }
};

}  // namespace fastllm
