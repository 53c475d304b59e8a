// CharacterMap: what SentencePiece's maps make of a text, by its own rule or by that of Hugging Face tokenizers.
// `fastllm.reference.character_map` says what a map is, and how the rules differ.
//
// Algorithm. What each character of ASCII becomes, where another follows, is known beforehand: mostly itself, so that
// text is copied in one go up to the next that is something else. All else walks the trie: SentencePiece's rule from
// every character as far as it goes; the other rule cluster by cluster (`ClusterWalk`).
//
// Invariants. A place behind the trie, or behind the replacements, is never read: it ends a key, or is nothing.
//
// Cost. ASCII: a look at a table of 128 for each byte.

#pragma once

#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "encode/byte_trie.h"
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

    // Whether what comes next belongs to the cluster so far, whatever it is.
    bool joins_next() const { return classes_ & PREPEND_CLASS; }

    // Go on behind a character that no rule is about.
    void restart_behind(uint32_t character) {
        *this = ClusterWalk();
        before_ = character;
        classes_ = 0;
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

// What SentencePiece does with blanks.
struct BlankRules {
    bool add = true, remove_extra = true, escape = true, as_suffix = false;
    bool keeps_blanks = false;  // they are not written "▁" here, but read so later
};

class CharacterMap {
  public:
    explicit CharacterMap(std::string_view charsmap) {
        if (charsmap.empty()) return;
        uint32_t size;
        std::memcpy(&size, charsmap.data(), 4);
        if (size == 0 || size % 4 || size > charsmap.size() - 4) throw std::invalid_argument("no character map");
        trie_.resize(size / 4);
        std::memcpy(trie_.data(), charsmap.data() + 4, size);
        replacements_ = std::string(charsmap.substr(4 + size));
        for (uint8_t byte = 1; byte < 128; byte++) {
            const char character = char(byte);
            Found found = find({&character, 1}, true);
            ascii_is_mapped_[byte] = found.size != 0;
        }
        for (uint8_t byte = 1; byte < 128; byte++) begins_keys_[byte] = begins_ascii_keys(byte);
        for (uint8_t byte = ' '; byte < 127; byte++) is_plain_[byte] = !ascii_is_mapped_[byte];
    }

    // Append what the rule of Hugging Face tokenizers makes of valid UTF-8 `text`. Where `places` is not null, it gets
    // for each character the one of `text` that it comes from.
    void map_clusters(std::string_view text, std::string &out, std::vector<int64_t> *places) const {
        ClusterWalk walk;
        size_t start = 0;
        int64_t place = 0;
        int length = 0;
        for (size_t i = 0; i < text.size(); i += size_t(length)) {
            const size_t plain = plain_run(text, i);
            if (plain > 1 && !walk.joins_next()) {  // each character is a cluster, and stays as it is
                if (i > start) map_cluster(text.substr(start, i - start), out, places, place);
                out += text.substr(i, plain);
                for (size_t n = 0; places && n < plain; n++) places->push_back(place++);
                walk.restart_behind(uint8_t(text[i + plain - 1]));
                start = i + plain;
                length = int(plain);
                continue;
            }
            const bool ends = walk.ends_before(decode_at(text, i, length));
            if (ends && i > start) {
                map_cluster(text.substr(start, i - start), out, places, place);
                start = i;
            }
        }
        if (start < text.size()) map_cluster(text.substr(start), out, places, place);
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
    bool ascii_is_mapped_[128] = {}, begins_keys_[128] = {};
    bool is_plain_[256] = {};  // bytes that are printable ASCII and become themselves

    // How many characters from `i` on are ASCII, of no class, no keys, and have ASCII behind them.
    size_t plain_run(std::string_view text, size_t i) const {
        size_t end = i;
        while (end < text.size() && is_plain_[uint8_t(text[end])]) end++;
        return end < text.size() && end > i && uint8_t(text[end]) >= 0x80 ? end - i - 1 : end - i;
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

    void map_cluster(std::string_view cluster, std::string &out, std::vector<int64_t> *places, int64_t &place) const {
        if (cluster.size() == 1 && uint8_t(cluster[0]) < 0x80 && !ascii_is_mapped_[uint8_t(cluster[0])]) {
            out += cluster[0];
            if (places) places->push_back(place++);
            return;
        }
        auto replace = [&](std::string_view part, std::string_view made) {
            out += made;
            if (!places) return;
            const int64_t count = characters_in(part);
            for (int64_t i = 0; i < characters_in(made); i++) places->push_back(place + std::min(i, count - 1));
            place += count;
        };
        if (cluster.size() < 6) {
            const Found found = find(cluster, true);
            if (found.size) return replace(cluster, found.text);
        }
        int length;
        for (size_t i = 0; i < cluster.size(); i += size_t(length)) {
            decode_at(cluster, i, length);
            const std::string_view character = cluster.substr(i, size_t(length));
            const Found found = find(character, true);
            replace(character, found.size ? found.text : character);
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
        const uint8_t first = uint8_t(text[0]);
        const bool plain = first < 0x80 && !ascii_is_mapped_[first] && !begins_keys_[first] &&
                           (text.size() == 1 || uint8_t(text[1]) < 0x80);
        const Found found = plain ? Found{0, {}} : find(text, false);
        if (found.size) return found;
        int length;
        decode_at(text, 0, length);
        return {size_t(length), text.substr(0, size_t(length))};
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
