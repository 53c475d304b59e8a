// Unigram: the pieces with the highest sum of scores (Viterbi). `fastllm.reference.unigram` says why.
//
// Algorithm. All pieces lie in one trie. From each place that a character begins at, the trie is walked as long as it
// goes, and each piece on the way offers its end a better score than it has so far. Behind the last place, the pieces
// are found going back.
//
//     place       0    1    2    3        the best score so far, where its last piece began, and which piece that is
//     score       0   -3   -4   -7
//     began       -    0    0    2
//
// Hugging Face tokenizers adds in double precision, SentencePiece in single precision: `Score`.
//
// Invariants. The end of every character is reached: by a piece, or as unknown.
//
// Cost. A step of the trie for each byte and each piece that could go on: some 5 to 6 a byte.

#pragma once

#include <cmath>
#include <memory>
#include <stdexcept>
#include <string>

#include "encode/byte_trie.h"
#include "encode/character_bpe.h"
#include "encode/model.h"

namespace fastllm {

// The best way to a place.
template <typename Score>
struct Reached {
    Score score;
    uint32_t began, token;  // NONE: not reached; NONE: unknown
};

struct UnigramRules {
    bool reads_blanks = false;  // a blank is "▁"
    bool takes_words = false;   // white space is left out, and "▁" put before what does not begin with it
    bool is_single = false;     // sums in single precision, and unknown characters as SentencePiece has them
    double unknown_score = 0;
};

class UnigramModel final : public Model {
  public:
    // `vocabulary` has the pieces that text can become; `scores` are theirs.
    UnigramModel(std::shared_ptr<const Vocabulary> vocabulary, std::vector<double> scores, const UnknownRules &unknown,
                 const UnigramRules &rules)
        : vocabulary_(std::move(vocabulary)), scores_(std::move(scores)), unknown_(unknown), rules_(rules) {
        trie_.build(*vocabulary_);
    }

    bool keeps_tokens_whole() const override { return false; }

    size_t encode(std::string_view given, ModelScratch &scratch, uint32_t *out, Span *spans) const override {
        const std::string_view text = prepare(given, scratch);
        if (text.empty()) return 0;
        return rules_.is_single ? encode_as<float>(text, scratch, out, spans)
                                : encode_as<double>(text, scratch, out, spans);
    }

  private:
    static constexpr std::string_view BLANK = "\xE2\x96\x81";
    static constexpr float MAX_SCORE = 100000;

    std::shared_ptr<const Vocabulary> vocabulary_;
    std::vector<double> scores_;
    UnknownRules unknown_;
    UnigramRules rules_;
    ByteTrie trie_;

    // The text in which pieces are looked for.
    std::string_view prepare(std::string_view text, ModelScratch &scratch) const {
        if (rules_.takes_words) {
            int length;
            while (!text.empty() && class_at(text, 0, length) == SPACE) text.remove_prefix(size_t(length));
            size_t size = text.size();
            for (size_t i = 0; i < text.size(); i += size_t(length)) {
                if (class_at(text, i, length) == SPACE) {
                    size = i;
                    break;
                }
            }
            text = text.substr(0, size);
            if (text.empty() || text.substr(0, BLANK.size()) == BLANK) return text;
            scratch.text = BLANK;
            scratch.text += text;
            return scratch.text;
        }
        if (!rules_.reads_blanks || text.find(' ') == std::string_view::npos) return text;
        scratch.text.clear();
        for (const char byte : text) {
            if (byte == ' ') {
                scratch.text += BLANK;
            } else {
                scratch.text += byte;
            }
        }
        return scratch.text;
    }

    template <typename Score>
    size_t encode_as(std::string_view text, ModelScratch &scratch, uint32_t *out, Span *spans) const {
        static_assert(sizeof(Reached<Score>) <= 16);
        const size_t n = text.size();
        scratch.words.resize(2 * (n + 1));
        Reached<Score> *reached = reinterpret_cast<Reached<Score> *>(scratch.words.data());
        for (size_t i = 0; i <= n; i++) reached[i] = {0, NONE, NONE};
        find_best(text, reached);
        return write_ids(text, reached, scratch, out, spans);
    }

    template <typename Score>
    void find_best(std::string_view text, Reached<Score> *reached) const {
        const size_t n = text.size();
        const Score unknown_score = Score(rules_.unknown_score);
        size_t frontier = 0;
        int length;
        for (size_t start = 0; start < n; start += size_t(length)) {
            decode_at(text, start, length);
            if (sizeof(Score) == 4) count_from_here(reached, start, frontier);
            const Score so_far = reached[start].score;
            auto offer = [&](size_t end, Score score, uint32_t token) {
                const Score total = so_far + score;
                Reached<Score> &best = reached[end];
                if (best.began == NONE || total > best.score) best = {total, uint32_t(start), token};
                frontier = std::max(frontier, end);
            };
            bool alone = false;
            uint32_t node = ByteTrie::ROOT;
            for (size_t end = start; end < n;) {
                node = trie_.step(node, uint8_t(text[end++]));
                if (node == NONE) break;
                const uint32_t token = trie_.value(node);
                if (token == NONE) continue;
                offer(end, Score(scores_[token]), token);
                alone |= end == start + size_t(length);
            }
            if (!alone) offer(start + size_t(length), unknown_score, NONE);
        }
    }

    // In single precision, scores far from 0 are too coarse: those of all places reached are counted from here.
    template <typename Score>
    static void count_from_here(Reached<Score> *reached, size_t start, size_t frontier) {
        const Score so_far = reached[start].score;
        if (so_far >= -MAX_SCORE && so_far <= MAX_SCORE) return;
        for (size_t i = start; i <= frontier; i++) {
            if (i == start || reached[i].began != NONE) reached[i].score -= so_far;
        }
    }

    template <typename Score>
    size_t write_ids(std::string_view text, const Reached<Score> *reached, ModelScratch &scratch, uint32_t *out,
                     Span *spans) const {
        std::vector<Span> &parts = scratch.symbols;  // from the last to the first: where each begins, its token
        parts.clear();
        for (size_t end = text.size(); end > 0; end = reached[end].began) {
            parts.push_back({reached[end].began, reached[end].token});
        }
        size_t count = 0;
        auto write = [&](uint32_t id, Span span) {
            if (spans) spans[count] = span;
            out[count++] = id;
        };
        bool behind_unknown = false;
        for (size_t i = parts.size(); i-- > 0;) {
            const uint32_t start = parts[i].start, token = parts[i].end;
            uint32_t end = i ? parts[i - 1].start : uint32_t(text.size());
            const bool known = token != NONE && (rules_.is_single || vocabulary_->ids[token] != unknown_.unknown);
            if (known) {
                write(vocabulary_->ids[token], {start, end});
            } else if (rules_.is_single) {
                unknown_.write(text.substr(start, end - start), {start, end}, behind_unknown, write,
                               spans && count ? spans + count - 1 : nullptr);
            } else {
                // Unknown characters in a row are one string.
                while (i > 0 && is_unknown(parts[i - 1].end)) {
                    i--;
                    end = i ? parts[i - 1].start : uint32_t(text.size());
                }
                write_unknown(text.substr(start, end - start), {start, end}, write);
            }
            behind_unknown = !known;
        }
        return count;
    }

    bool is_unknown(uint32_t token) const { return token == NONE || vocabulary_->ids[token] == unknown_.unknown; }

    // As Hugging Face tokenizers has it: looked up again, then as bytes.
    template <typename Write>
    void write_unknown(std::string_view part, Span span, Write write) const {
        const uint32_t token = vocabulary_->find_token(part);
        if (token != NONE) return write(vocabulary_->ids[token], span);
        bool all_bytes = unknown_.byte_fallback;
        for (const char byte : part) all_bytes = all_bytes && unknown_.bytes[uint8_t(byte)] != NONE;
        if (all_bytes) {
            for (const char byte : part) write(unknown_.bytes[uint8_t(byte)], span);
        } else if (unknown_.unknown == NONE) {
            throw std::invalid_argument("text holds what is no piece, and the vocabulary has no token for unknown");
        } else {
            write(unknown_.unknown, span);
        }
    }
};

}  // namespace fastllm
