// BPE over characters: the merges of bytes, begun with characters. `fastllm.reference.character_bpe` says which.
//
// Algorithm. A character of the pre-token is a token, or its bytes are, or it is unknown. These symbols merge as bytes
// do: up to 62 by merge_by_scan.h, more by merge_by_tree.h. Where a blank is written "▁", U+2581, it need not be in the
// text: a blank is read as one.
//
//     " hi ä"      ▁  h  i  ▁  <0xC3>  <0xA4>      symbols, each with the bytes that it stands for
//                  ▁hi      ▁  <0xC3>  <0xA4>      merged
//
// SentencePiece merges by score. Pieces have priorities in the order of their scores, so that the merges are the same,
// as long as no two pieces have the same score: then the leftmost pair would have to come first, whichever it is. Such
// models merge by a heap of their own (`merge_by_heap`), and so do those in which a piece that is not to be used could
// have been merged from two pairs: it is taken apart into the one that was met last.
//
// Invariants. A blank is one byte, and "▁" one token, if blanks are read as one: there are never more ids than bytes.
//
// Cost. See the merges.

#pragma once

#include <algorithm>
#include <memory>
#include <queue>
#include <string>

#include "encode/byte_trie.h"
#include "encode/dispatch.h"
#include "encode/model.h"
#include "split/characters.h"

namespace fastllm {

struct CharacterRules {
    bool byte_fallback = false, fuse_unknown = false, ignore_merges = false;
    bool reads_blanks = false;       // a blank is "▁"
    bool keeps_characters = false;   // none is left out, and bytes and unknown ones merge with nothing
    std::string prefix, suffix;      // of every symbol but the first; of the last
    uint32_t unknown = NONE;         // a token
    uint32_t bytes[256];             // tokens, or NONE

    CharacterRules() { std::fill_n(bytes, 256, NONE); }
};

// What all models of characters have: tokens, and the symbols of a word.
class CharacterModel : public Model {
  public:
    bool keeps_tokens_whole() const override { return false; }

  protected:
    static constexpr std::string_view BLANK = "\xE2\x96\x81";

    // The symbol that `text` merges into from symbol `first` to the one before `last`.
    static Span span_of(const std::vector<Span> &symbols, size_t first, size_t last) {
        return {symbols[first].start, symbols[last - 1].end};
    }

    // Call `use(token, first, last)` for what the symbols of `scratch` merge into, symbols `first` to `last`.
    template <typename Use>
    static void merge_symbols(const Vocabulary &vocabulary, ModelScratch &scratch, Use use) {
        MergeTree &tree = scratch.tree;
        const size_t n = tree.tokens.size();
        if (n == 0) return;
        tree.priorities.assign(n, NONE);
        for (size_t i = 0; i + 1 < n; i++) tree.priorities[i] = vocabulary.priority(tree.tokens[i], tree.tokens[i + 1]);
        if (n <= MAX_SCAN_SYMBOLS) {
            uint32_t tokens[MAX_SCAN_SYMBOLS + 2];
            std::memcpy(tokens + 1, tree.tokens.data(), 4 * n);
            uint64_t alive = encode::baseline::merge_tokens_by_scan(vocabulary, tokens, tree.priorities.data(), n);
            while (alive) {
                const size_t first = size_t(countr_zero(alive));
                alive &= alive - 1;
                use(tokens[first], first - 1, alive ? size_t(countr_zero(alive)) - 1 : n);
            }
        } else {
            encode::baseline::merge_tokens_by_tree(vocabulary, tree);
            for (size_t i = 0; i < n;) {
                const size_t next = tree.next(i);
                use(tree.token(i), i, std::min(next, n));
                i = next;
            }
        }
    }

  private:
    static constexpr size_t MAX_SCAN_SYMBOLS = 62;
};

// The model of Hugging Face tokenizers.
class CharacterBPEModel final : public CharacterModel {
  public:
    CharacterBPEModel(const Vocabulary &vocabulary, const CharacterRules &rules)
        : vocabulary_(vocabulary), rules_(rules), blank_(vocabulary.find_token(BLANK)) {}

    size_t encode(std::string_view word, ModelScratch &scratch, uint32_t *out, Span *spans) const override {
        if (rules_.ignore_merges) {
            const uint32_t token = vocabulary_.find_token(word);
            if (token != NONE) {
                *out = vocabulary_.ids[token];
                if (spans) *spans = {0, uint32_t(word.size())};
                return 1;
            }
        }
        read_symbols(word, scratch);
        size_t count = 0;
        merge_symbols(vocabulary_, scratch, [&](uint32_t token, size_t first, size_t last) {
            if (spans) spans[count] = span_of(scratch.symbols, first, last);
            out[count++] = vocabulary_.ids[token];
        });
        return count;
    }

    TokenSizes token_sizes() const override {
        TokenSizes sizes;
        if (!rules_.keeps_characters) return sizes;
        sizes.begin(vocabulary_.ids, 0);
        for (uint32_t t = 0; t < vocabulary_.ids.size(); t++) {
            const size_t size = TokenSizes::size_in_text(vocabulary_.token(t), rules_.reads_blanks);
            if (t != rules_.unknown) sizes.set(vocabulary_.ids[t], size, size);
        }
        for (const uint32_t byte : rules_.bytes) {
            if (byte != NONE && rules_.byte_fallback) sizes.set(vocabulary_.ids[byte], 1, 1);
        }
        return sizes;
    }

    bool reads_blanks() const override { return rules_.reads_blanks; }

  private:
    const Vocabulary &vocabulary_;
    const CharacterRules rules_;
    uint32_t blank_;

    uint32_t token_at(std::string_view word, size_t start, size_t end, ModelScratch &scratch) const {
        if (rules_.prefix.empty() && rules_.suffix.empty()) {
            if (end - start > 1) return vocabulary_.find_token(word.substr(start, end - start));
            const uint8_t byte = uint8_t(word[start]);
            return byte == ' ' && rules_.reads_blanks ? blank_ : vocabulary_.byte_tokens[byte];
        }
        std::string &spelled = scratch.text;
        spelled = start ? rules_.prefix : "";
        spelled += word.substr(start, end - start);
        if (end == word.size()) spelled += rules_.suffix;
        return vocabulary_.find_token(spelled);
    }

    // As `symbols_of` of the reference: unknown ones are written down when a known one, or the end, has come.
    void read_symbols(std::string_view word, ModelScratch &scratch) const {
        std::vector<uint32_t> &tokens = scratch.tree.tokens;
        tokens.clear();
        scratch.symbols.clear();
        Span waiting{NONE, NONE};
        auto add = [&](uint32_t token, Span span) {
            tokens.push_back(token);
            scratch.symbols.push_back(span);
        };
        int length;
        for (size_t start = 0; start < word.size(); start += size_t(length)) {
            decode_at(word, start, length);
            const Span here{uint32_t(start), uint32_t(start + size_t(length))};
            const uint32_t token = token_at(word, start, here.end, scratch);
            if (token != NONE) {
                if (waiting.end != NONE) add(rules_.unknown, waiting);
                waiting.end = NONE;
                add(token, here);
            } else if (rules_.byte_fallback && all_bytes_known(word, here, scratch)) {
                for (const char byte : spelled(word, here, scratch)) add(rules_.bytes[uint8_t(byte)], here);
            } else if (rules_.unknown != NONE) {
                if (waiting.end != NONE && rules_.fuse_unknown) {
                    waiting.end = here.end;
                } else {
                    if (waiting.end != NONE) add(rules_.unknown, waiting);
                    waiting = here;
                }
            }
        }
        if (waiting.end != NONE) add(rules_.unknown, waiting);
    }

    // A character as it is looked up: `token_at` has left it in `scratch.text` if it is more than itself.
    std::string_view spelled(std::string_view word, Span here, const ModelScratch &scratch) const {
        if (!rules_.prefix.empty() || !rules_.suffix.empty()) return scratch.text;
        return word.substr(here.start, here.end - here.start);
    }

    bool all_bytes_known(std::string_view word, Span here, const ModelScratch &scratch) const {
        for (const char byte : spelled(word, here, scratch)) {
            if (rules_.bytes[uint8_t(byte)] == NONE) return false;
        }
        return true;
    }
};

// The pieces of a SentencePiece model that merges.
struct MergedPieces {
    Vocabulary vocabulary;  // pieces that text becomes, and the characters in them; ids of what is unknown are NONE
    std::vector<std::pair<uint32_t, uint32_t>> halves;  // of tokens that are not used: what they are taken apart into
    std::vector<uint32_t> order;                        // of priorities: equal for equal scores; empty if none are
    bool halves_vary = false;                           // some could have been merged from two pairs
    std::vector<uint8_t> unused;                        // of tokens: whether text never becomes it
};

// Pieces that a user has defined, and a trie of them; the ids are tokens.
struct UserDefined {
    Vocabulary vocabulary;
    ByteTrie trie;
};

// How SentencePiece writes what is no piece.
struct UnknownRules {
    bool byte_fallback = false;
    uint32_t unknown = NONE;  // ids
    uint32_t bytes[256];

    // The sizes of tokens that text becomes, with those of `vocabulary`, and of bytes.
    TokenSizes sizes_of(const Vocabulary &vocabulary, bool reads_blanks) const {
        TokenSizes sizes;
        uint32_t highest = unknown == NONE ? 0 : unknown;
        for (const uint32_t id : bytes) highest = id == NONE ? highest : std::max(highest, id);
        sizes.begin(vocabulary.ids, highest);
        for (uint32_t t = 0; t < vocabulary.ids.size(); t++) {
            const size_t size = TokenSizes::size_in_text(vocabulary.token(t), reads_blanks);
            if (vocabulary.ids[t] != NONE) sizes.set(vocabulary.ids[t], size, size);
        }
        for (const uint32_t id : bytes) {
            if (id != NONE && byte_fallback) sizes.set(id, 1, 1);
        }
        if (unknown != NONE) sizes.set(unknown, TokenSizes::ASK, TokenSizes::ASK);
        return sizes;
    }

    // Write the ids of a part that is no piece, behind `known` ones or others; returns how many have been written.
    template <typename Write>
    void write(std::string_view part, Span span, bool behind_unknown, Write write, Span *last) const {
        if (byte_fallback) {
            for (const char byte : part) write(bytes[uint8_t(byte)], span);
        } else if (!behind_unknown) {
            write(unknown, span);
        } else if (last) {
            last->end = span.end;
        }
    }
};

class MergedPiecesModel final : public CharacterModel {
  public:
    MergedPiecesModel(std::shared_ptr<const MergedPieces> pieces, std::shared_ptr<const UserDefined> user_defined,
                      const UnknownRules &unknown, bool reads_blanks)
        : pieces_(std::move(pieces)),
          user_defined_(std::move(user_defined)),
          unknown_(unknown),
          reads_blanks_(reads_blanks),
          blank_(pieces_->vocabulary.find_token(BLANK)) {}

    TokenSizes token_sizes() const override { return unknown_.sizes_of(pieces_->vocabulary, reads_blanks_); }

    bool reads_blanks() const override { return reads_blanks_; }

    size_t encode(std::string_view text, ModelScratch &scratch, uint32_t *out, Span *spans) const override {
        read_symbols(text, scratch);
        size_t count = 0;
        bool behind_unknown = false;
        auto write = [&](uint32_t id, Span span) {
            if (spans) spans[count] = span;
            out[count++] = id;
        };
        auto use = [&](uint32_t token, Span span) {
            const uint32_t id = token == NONE || pieces_->unused[token] ? NONE : pieces_->vocabulary.ids[token];
            if (id != NONE) {
                write(id, span);
            } else {
                const std::string_view part = text.substr(span.start, span.end - span.start);
                unknown_.write(part, span, behind_unknown, write, spans && count ? spans + count - 1 : nullptr);
            }
            behind_unknown = id == NONE;
        };
        if (pieces_->order.empty() && !pieces_->halves_vary) {
            merge_symbols(pieces_->vocabulary, scratch, [&](uint32_t token, size_t first, size_t last) {
                take_apart(pieces_->halves, text, token, span_of(scratch.symbols, first, last), use);
            });
        } else {
            merge_by_heap(text, scratch, use);
        }
        return count;
    }

  private:
    std::shared_ptr<const MergedPieces> pieces_;
    std::shared_ptr<const UserDefined> user_defined_;  // null: there are none
    UnknownRules unknown_;
    bool reads_blanks_;
    uint32_t blank_;

    // As `cut_out` of the reference. Pieces of the user merge with nothing: no pair has them.
    void read_symbols(std::string_view text, ModelScratch &scratch) const {
        std::vector<uint32_t> &tokens = scratch.tree.tokens;
        tokens.clear();
        scratch.symbols.clear();
        const Vocabulary &vocabulary = pieces_->vocabulary;
        for (size_t start = 0, end; start < text.size(); start = end) {
            uint32_t token = NONE;
            end = start;
            if (user_defined_) {
                uint32_t node = ByteTrie::ROOT;
                for (size_t i = start; i < text.size() && node != NONE;) {
                    // A blank may be the beginning of a piece that is written with "▁".
                    const ByteTrie &trie = user_defined_->trie;
                    node = reads_blanks_ && text[i] == ' ' ? trie.walk(node, BLANK) : trie.step(node, uint8_t(text[i]));
                    i++;
                    if (node == NONE || trie.value(node) == NONE) continue;
                    token = user_defined_->vocabulary.ids[trie.value(node)];
                    end = i;
                }
            }
            if (end == start) {
                int length;
                decode_at(text, start, length);
                end = start + size_t(length);
                token = reads_blanks_ && text[start] == ' ' ? blank_
                                                            : vocabulary.find_token(text.substr(start, end - start));
            }
            tokens.push_back(token);
            scratch.symbols.push_back({uint32_t(start), uint32_t(end)});
        }
    }

    // The bytes that a token has in a text in which blanks may be one byte.
    static size_t size_in(const Vocabulary &vocabulary, std::string_view text, size_t start, uint32_t token) {
        size_t size = vocabulary.token(token).size(), end = start;
        while (size) {
            size -= text[end] == ' ' ? BLANK.size() : 1;
            end++;
        }
        return end - start;
    }

    // Call `use(token, span)` for a token, or for those that it is taken apart into.
    template <typename Halves, typename Use>
    void take_apart(const Halves &halves, std::string_view text, uint32_t token, Span span, Use &use) const {
        if (token == NONE || !pieces_->unused[token] || halves[token].first == NONE) return use(token, span);
        const auto [left, right] = halves[token];
        const uint32_t middle = span.start + uint32_t(size_in(pieces_->vocabulary, text, span.start, left));
        take_apart(halves, text, left, {span.start, middle}, use);
        take_apart(halves, text, right, {middle, span.end}, use);
    }

    // The pairs that can merge, in the order of their scores, the leftmost first of equal ones.
    template <typename Use>
    void merge_by_heap(std::string_view text, ModelScratch &scratch, Use &use) const {
        const Vocabulary &vocabulary = pieces_->vocabulary;
        std::vector<uint32_t> &tokens = scratch.tree.tokens;
        const size_t n = tokens.size();
        std::vector<uint32_t> next(n), before(n);
        std::vector<bool> alive(n, true);
        auto met = pieces_->halves_vary ? pieces_->halves : std::vector<std::pair<uint32_t, uint32_t>>();
        struct Entry {
            uint32_t order, place, priority, left, right;
            bool operator<(const Entry &other) const {
                return order != other.order ? order > other.order : place > other.place;
            }
        };
        std::priority_queue<Entry> agenda;
        auto offer = [&](size_t i) {
            if (next[i] >= n || tokens[i] == NONE || tokens[next[i]] == NONE) return;
            const uint32_t priority = vocabulary.priority(tokens[i], tokens[next[i]]);
            if (priority == NONE) return;
            const uint32_t order = pieces_->order.empty() ? priority : pieces_->order[priority];
            agenda.push({order, uint32_t(i), priority, tokens[i], tokens[next[i]]});
            const uint32_t result = vocabulary.result(priority);
            if (pieces_->halves_vary && pieces_->unused[result]) met[result] = {tokens[i], tokens[next[i]]};
        };
        for (size_t i = 0; i < n; i++) next[i] = uint32_t(i + 1), before[i] = uint32_t(i - 1);
        for (size_t i = 0; i < n; i++) offer(i);
        while (!agenda.empty()) {
            const Entry top = agenda.top();
            agenda.pop();
            const size_t i = top.place;
            if (!alive[i] || next[i] >= n || tokens[i] != top.left || tokens[next[i]] != top.right) continue;
            const size_t j = next[i];
            tokens[i] = vocabulary.result(top.priority);
            alive[j] = false;
            next[i] = next[j];
            if (next[i] < n) before[next[i]] = uint32_t(i);
            if (i > 0) offer(before[i]);
            offer(i);
        }
        const auto &halves = pieces_->halves_vary ? met : pieces_->halves;
        for (size_t i = 0; i < n; i = next[i]) take_apart(halves, text, tokens[i], span_of(scratch.symbols, i, next[i]), use);
    }
};

}  // namespace fastllm
