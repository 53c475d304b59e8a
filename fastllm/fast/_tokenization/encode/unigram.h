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
// Hugging Face tokenizers adds in double precision (`find_best`): there all pieces that go on are walked a byte at a time, side by
// side, so that their look-ups do not wait for each other.
//
// SentencePiece adds in single precision, and along the whole text (`find_best_in_order`): how a sum is rounded depends on
// all that came before, and where two ways are nearly as good, so does which is taken. But most words have one best way
// by far. If no piece reaches from a word into the next, and the best way to each of its places is better than any other
// by more than rounding could make up for, it is the best wherever the word stands: only such words are cached, and the
// others are walked anew, from the very sum that the whole text has there (`sum_scores`). What a word adds to the sum
// can be told from its ids, but where unknown characters in a row have one: such words are kept apart (`SummedWord`).
//
//     rounding     each sum is wrong by half a unit of its last place, 1/256 at most as long as it is above -131,072;
//                  a way to a place behind c characters has c sums at most, and so has the way next to it:
//     certain      best - second > 2 * c / 256, for each place on the best way
//
// Invariants. The end of every character is reached: by a piece, or as unknown. Words are cached only by models whose
// scores are not above 0, so that the sum only falls until it is counted anew (`count_from_here`); cached words are used
// only above MIN_SUM, where that does not happen in any of them (encode_pretokens.h).
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
    bool by_words = false;      // a text comes word by word, and no piece reaches from one into the next
    double unknown_score = 0;
};

class UnigramModel final : public Model {
  public:
    // `vocabulary` has the pieces that text can become; `scores` are theirs.
    UnigramModel(std::shared_ptr<const Vocabulary> vocabulary, std::vector<double> scores, const UnknownRules &unknown,
                 const UnigramRules &rules)
        : vocabulary_(std::move(vocabulary)), scores_(std::move(scores)), unknown_(unknown), rules_(rules) {
        trie_.build(*vocabulary_);
        if (!rules_.by_words) return;
        for (uint32_t token = 0; token < scores_.size(); token++) {
            const uint32_t id = vocabulary_->ids[token];
            if (id >= score_of_id_.size()) score_of_id_.resize(id + 1);
            score_of_id_[id] = float(scores_[token]);
        }
        const auto set_unknown = [&](uint32_t id, double score) {
            if (id == NONE) return;
            if (id >= score_of_id_.size()) score_of_id_.resize(id + 1);
            score_of_id_[id] = float(score);
        };
        if (!unknown_.byte_fallback) set_unknown(unknown_.unknown, rules_.unknown_score);
        for (int byte = 0; unknown_.byte_fallback && byte < 256; byte++) {  // of a character, the first has its score
            set_unknown(unknown_.bytes[byte], is_continuation(uint8_t(byte)) ? 0 : rules_.unknown_score);
        }
    }

    bool keeps_tokens_whole() const override { return false; }

    TokenSizes token_sizes() const override {
        TokenSizes sizes = unknown_.sizes_of(*vocabulary_, rules_.reads_blanks);
        for (const uint32_t id : unknown_.bytes) {
            // Unknown characters in a row are one string, where all of its bytes stand.
            if (id != NONE && unknown_.byte_fallback && !rules_.is_single) sizes.set(id, TokenSizes::ASK, TokenSizes::ASK);
        }
        for (uint32_t t = 0; rules_.takes_words && t < scores_.size(); t++) {
            const std::string_view token = vocabulary_->token(t);
            uint16_t &first = sizes.first[vocabulary_->ids[t]];
            if (first != TokenSizes::ASK) {
                first = token.substr(0, BLANK.size()) == BLANK ? uint16_t(first - BLANK.size()) : TokenSizes::ASK;
            }
        }
        return sizes;
    }

    bool reads_blanks() const override { return rules_.reads_blanks; }

    bool puts_marks() const override { return rules_.takes_words; }

    bool sums_scores() const override { return rules_.by_words; }

    void sum_scores(const uint32_t *ids, size_t count, ModelScratch &scratch) const override {
        float sum = scratch.sum;
        for (size_t i = 0; i < count; i++) sum += score_of_id_[ids[i]];
        scratch.sum = sum;
    }

    size_t encode(std::string_view given, ModelScratch &scratch, uint32_t *out, Span *spans) const override {
        const std::string_view text = prepare(given, scratch);
        if (text.empty()) return 0;
        const size_t count = encode_prepared(text, scratch, out, spans);
        if (spans && text.data() == scratch.text.data()) place_in_given(given, text, spans, count);
        return count;
    }

    size_t encode_in_text(std::string_view given, ModelScratch &scratch, uint32_t *out) const override {
        const std::string_view text = prepare(given, scratch);
        return text.empty() ? 0 : encode_from_sum(text, scratch, out, nullptr);
    }

  private:
    static constexpr std::string_view BLANK = "\xE2\x96\x81";
    static constexpr float MAX_SCORE = 100000;
    static constexpr size_t MAX_SUMMED = 1 << 13, MAX_SUMMED_BYTES = 100;  // words that are kept apart; of each

    std::shared_ptr<const Vocabulary> vocabulary_;
    std::vector<double> scores_;
    UnknownRules unknown_;
    UnigramRules rules_;
    ByteTrie trie_;
    std::vector<float> score_of_id_;

    static constexpr double MAX_ROUNDING = 1.0 / 256;  // of a sum above -131,072
    static constexpr double MIN_SCORE_IN_WORD = -500;  // of a place, counted from the beginning of the word

    size_t encode_prepared(std::string_view text, ModelScratch &scratch, uint32_t *out, Span *spans) const {
        if (!rules_.is_single) {
            find_best<false>(text, scratch);
            return write_ids(text, reached<double>(scratch), scratch, out, spans);
        }
        if (rules_.by_words && !spans) {
            scratch.is_certain = false;
            const auto kept = scratch.summed.empty() ? scratch.summed.end() : scratch.summed.find(std::string(text));
            if (kept != scratch.summed.end()) return add_summed(kept->second, scratch, out);
            if (find_best<true>(text, scratch)) {
                const size_t count = write_ids(text, reached<double>(scratch), scratch, out, nullptr);
                scratch.is_certain = unknown_.byte_fallback || !has_unknown_run(scratch);
                return scratch.is_certain ? count : keep_summed(text, scratch, out, count);
            }
        }
        return encode_from_sum(text, scratch, out, spans);
    }

    // Whether two unknown characters in a row are on the way that has just been written.
    static bool has_unknown_run(const ModelScratch &scratch) {
        bool before = false;
        for (const Span &part : scratch.symbols) {
            if (before && part.end == NONE) return true;
            before = part.end == NONE;
        }
        return false;
    }

    // Write the ids of a word, and add its scores to the sum.
    static size_t add_summed(const SummedWord &word, ModelScratch &scratch, uint32_t *out) {
        for (const float score : word.scores) scratch.sum += score;
        std::copy(word.ids.begin(), word.ids.end(), out);
        return word.ids.size();
    }

    // Add the scores of the way that has just been written, from the last to the first, and keep them with its ids.
    size_t keep_summed(std::string_view text, ModelScratch &scratch, uint32_t *out, size_t count) const {
        SummedWord word;
        word.ids.assign(out, out + count);
        for (size_t i = scratch.symbols.size(); i-- > 0;) {
            const uint32_t token = scratch.symbols[i].end;
            word.scores.push_back(float(token == NONE ? rules_.unknown_score : scores_[token]));
        }
        add_summed(word, scratch, out);
        if (text.size() <= MAX_SUMMED_BYTES) {
            if (scratch.summed.size() >= MAX_SUMMED) scratch.summed.clear();
            scratch.summed.emplace(text, std::move(word));
        }
        return count;
    }

    // Turn spans of the text in which pieces were looked for to those of the given one: blanks are "▁" in it, or one
    // stands before it.
    void place_in_given(std::string_view given, std::string_view text, Span *spans, size_t count) const {
        std::vector<uint32_t> places;
        if (rules_.takes_words) {
            const uint32_t added = uint32_t(BLANK.size());
            for (uint32_t i = 0; i <= text.size(); i++) places.push_back(i < added ? 0 : i - added);
        } else {
            for (uint32_t i = 0; i < given.size(); i++) places.insert(places.end(), given[i] == ' ' ? BLANK.size() : 1, i);
            places.push_back(uint32_t(given.size()));
        }
        for (size_t i = 0; i < count; i++) spans[i] = {places[spans[i].start], places[spans[i].end]};
    }

    // The text in which pieces are looked for.
    std::string_view prepare(std::string_view text, ModelScratch &scratch) const {
        if (rules_.takes_words) {
            text = without_space(text);
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

    // The first word of a text, if it has one.
    static std::string_view without_space(std::string_view text) {
        int length;
        while (!text.empty() && class_at(text, 0, length) == SPACE) text.remove_prefix(size_t(length));
        for (size_t i = 0; i < text.size(); i++) {
            const uint8_t byte = uint8_t(text[i]);
            const bool may_be_space = byte <= ' ' || byte == 0xC2 || (byte >= 0xE1 && byte <= 0xE3);
            if (may_be_space && class_at(text, i) == SPACE) return text.substr(0, i);
        }
        return text;
    }

    template <typename Score>
    static Reached<Score> *reached(ModelScratch &scratch) {
        static_assert(sizeof(Reached<Score>) <= 16);
        return reinterpret_cast<Reached<Score> *>(scratch.words.data());
    }

    // A piece that may go on: where it is in the trie, where it began, and the best score there.
    struct Walk {
        uint32_t node, start;
        double score;
    };

    // Find the best way to each place. Returns, if it is asked for, whether it is the best wherever the text stands.
    template <bool CHECKS>
    bool find_best(std::string_view text, ModelScratch &scratch) const {
        const size_t n = text.size();
        scratch.words.resize(4 * (n + 1) + (CHECKS ? n + 1 : 0));
        Reached<double> *const best_at = reached<double>(scratch);
        Walk *const walks = reinterpret_cast<Walk *>(scratch.words.data() + 2 * (n + 1));
        double *const leads = reinterpret_cast<double *>(scratch.words.data() + 4 * (n + 1));
        best_at[0] = {0, NONE, NONE};
        size_t count = 0, character = 0, characters = 0;
        double lowest = 0;
        for (size_t i = 0; i < n; i++) {
            const uint8_t byte = uint8_t(text[i]);
            if (!is_continuation(byte)) {
                character = i;
                characters++;
                walks[count++] = {ByteTrie::ROOT, uint32_t(i), best_at[i].score};
            }
            Reached<double> best{0, NONE, NONE};
            double second = -HUGE_VAL;
            auto offer = [&](double total, uint32_t start, uint32_t token) {
                if (best.began == NONE || total > best.score) {
                    if (CHECKS && best.began != NONE) second = best.score;
                    best = {total, start, token};
                } else if (CHECKS && total > second) {
                    second = total;
                }
            };
            size_t going = 0;
            bool is_piece = false;  // the character alone
            for (size_t k = 0; k < count; k++) {
                const Walk walk = walks[k];
                const uint32_t node = trie_.step(walk.node, byte);
                walks[going] = {node, walk.start, walk.score};
                going += node != NONE;
                const uint32_t token = node == NONE ? NONE : trie_.value(node);
                if (token == NONE) continue;
                is_piece = walk.start == character;
                offer(walk.score + scores_[token], walk.start, token);
            }
            count = going;
            if (i + 1 < n && is_continuation(uint8_t(text[i + 1]))) continue;
            if (!is_piece) offer(best_at[character].score + rules_.unknown_score, uint32_t(character), NONE);
            best_at[i + 1] = best;
            if (CHECKS) {
                lowest = std::min(lowest, best.score);
                leads[i + 1] = best.score - second - 2 * MAX_ROUNDING * double(characters);
            }
        }
        if (!CHECKS) return true;
        bool certain = lowest >= MIN_SCORE_IN_WORD;
        for (size_t end = n; end > 0; end = best_at[end].began) {
            certain = certain && leads[end] > 1e-6;
        }
        return certain;
    }

    // In the middle of a text: from its sum so far, which then has the scores of this part, too.
    size_t encode_from_sum(std::string_view text, ModelScratch &scratch, uint32_t *out, Span *spans) const {
        const size_t n = text.size();
        scratch.words.resize(2 * (n + 1));
        Reached<float> *const best_at = reached<float>(scratch);
        best_at[0].score = scratch.sum;
        find_best_in_order(text, best_at);
        scratch.sum = best_at[n].score;
        return write_ids(text, best_at, scratch, out, spans);
    }

    // Find the best way to each place, place by place, from the score that the first one has.
    void find_best_in_order(std::string_view text, Reached<float> *best_at) const {
        const size_t n = text.size();
        const float unknown_score = float(rules_.unknown_score);
        best_at[0].began = best_at[0].token = NONE;
        for (size_t i = 1; i <= n; i++) best_at[i] = {0, NONE, NONE};
        size_t frontier = 0;
        int length;
        for (size_t start = 0; start < n; start += size_t(length)) {
            decode_at(text, start, length);
            count_from_here(best_at, start, frontier);
            const float so_far = best_at[start].score;
            auto offer = [&](size_t end, float score, uint32_t token) {
                const float total = so_far + score;
                Reached<float> &best = best_at[end];
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
                offer(end, float(scores_[token]), token);
                alone |= end == start + size_t(length);
            }
            if (!alone) offer(start + size_t(length), unknown_score, NONE);
        }
    }

    // In single precision, scores far from 0 are too coarse: those of all places reached are counted from here.
    static void count_from_here(Reached<float> *best_at, size_t start, size_t frontier) {
        const float so_far = best_at[start].score;
        if (so_far >= -MAX_SCORE && so_far <= MAX_SCORE) return;
        for (size_t i = start; i <= frontier; i++) {
            if (i == start || best_at[i].began != NONE) best_at[i].score -= so_far;
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
