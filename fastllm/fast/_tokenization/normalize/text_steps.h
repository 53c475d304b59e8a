// TextSteps: what is done to a text before it is split, where it need not be left to Python. The steps are those of
// `fastllm.api.normalizers`, on UTF-8.
//
// Algorithm. Each step writes the whole text anew, from one of two buffers to the other, most of it by vectors. It
// stays in the nearest caches, and no `str` is made.
//
// Invariants. The result lies in a buffer, or is the text that was given. Text is valid UTF-8, before and after.
//
// Cost. See character_map.h for maps. Others: about that of a copy.

#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "normalize/character_map.h"

namespace fastllm {

// Memory for the steps, kept from text to text.
struct StepBuffers {
    TextBuffer texts[2];
    Places places[2];
    size_t bytes_held() const {
        return texts[0].capacity + texts[1].capacity + places[0].bytes_held() + places[1].bytes_held();
    }
};

// A text, and from which place each of its bytes comes; null: each from its own.
struct PlacedText {
    std::string_view text;
    const uint32_t *places = nullptr;
    size_t first = 0;  // the place of the first byte in what `places` are of

    size_t place_of(size_t i) const { return places ? places[first + i] : first + i; }
    PlacedText part(size_t start, size_t size) const { return {text.substr(start, size), places, first + start}; }
};

class TextSteps {
  public:
    // What comes before a text that is not empty.
    enum PrefixRule { ALWAYS, UNLESS_BLANK };  // a blank is ' ' or "▁"

    void add_clusters(std::shared_ptr<const CharacterMap> map) {
        steps_.push_back([map](Isa isa, std::string_view text, TextBuffer &out, Places *places) {
            map->map_clusters(isa, text, out, places);
            return out.text();
        });
    }

    void add_sentencepiece(std::shared_ptr<const CharacterMap> map, const BlankRules &blanks,
                           std::shared_ptr<const ByteTrie> user_defined, const std::vector<std::string> &pieces) {
        const PlainText plain = map->plain_for(pieces);
        knows_places = knows_places && !blanks.as_suffix;
        steps_.push_back([=](Isa isa, std::string_view text, TextBuffer &out, Places *places) {
            map->normalize_keeping_blanks(isa, text, blanks, plain, user_defined.get(), out, places);
            return out.text();
        });
    }

    void add_strip(bool left, bool right) {
        steps_.push_back([left, right](Isa, std::string_view text, TextBuffer &, Places *) {
            return stripped(text, left, right);
        });
    }

    // Two blanks or more are replaced by `content`, which comes from the last of them.
    void add_squeeze(std::string_view content) {
        const std::string held(content);
        steps_.push_back([held](Isa isa, std::string_view text, TextBuffer &out, Places *places) {
            size_t two = encode::find_two_blanks(isa, text);
            if (two == text.size()) return text;
            const char *const begin = text.data();
            while (true) {
                out.append(text.substr(0, two));
                if (places) places->add_run(uint32_t(text.data() - begin), two);
                if (two == text.size()) return out.text();
                out.append(held);
                text.remove_prefix(two);
                text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
                if (places) places->add(uint32_t(text.data() - begin) - 1, held.size());
                two = encode::find_two_blanks(isa, text);
            }
        });
    }

    void add_prefix(std::string_view prefix, PrefixRule rule) {
        const std::string held(prefix);
        steps_.push_back([held, rule](Isa, std::string_view text, TextBuffer &out, Places *places) {
            if (text.empty() || (rule == UNLESS_BLANK && (text[0] == ' ' || text.substr(0, 3) == "\xE2\x96\x81"))) {
                return text;
            }
            out.append(held);
            out.append(text);
            if (places) places->add(0, held.size()), places->add_run(0, text.size());
            return out.text();
        });
    }

    std::string_view apply(Isa isa, std::string_view text, StepBuffers &buffers) const {
        return run(isa, {text}, buffers, false).text;
    }

    // The same, and where each byte comes from: a place of `text`, as it says.
    PlacedText apply_with_places(Isa isa, const PlacedText &text, StepBuffers &buffers) const {
        return run(isa, text, buffers, true);
    }

    bool knows_places = true;  // whether `apply_with_places` can be called

  private:
    using Step = std::function<std::string_view(Isa, std::string_view, TextBuffer &, Places *)>;
    std::vector<Step> steps_;

    PlacedText run(Isa isa, PlacedText text, StepBuffers &buffers, bool wants_places) const {
        int free = 0;
        for (const Step &step : steps_) {
            TextBuffer &out = buffers.texts[free];
            Places &places = buffers.places[free];
            out.size = 0;
            places.clear();
            const std::string_view made = step(isa, text.text, out, wants_places ? &places : nullptr);
            if (!out.size || made.data() < out.data.get() || made.data() >= out.data.get() + out.size) {
                text = text.part(made.empty() ? 0 : size_t(made.data() - text.text.data()), made.size());
                continue;
            }
            uint32_t *const found = places.data();
            if (text.places) {
                const uint32_t *const before = text.places + text.first;
                for (size_t i = 0; i < places.size(); i++) found[i] = before[found[i]];
            } else if (text.first) {
                for (size_t i = 0; i < places.size(); i++) found[i] += uint32_t(text.first);
            }
            text = {made, wants_places ? found : nullptr, 0};
            free = 1 - free;
        }
        return text;
    }

    static std::string_view stripped(std::string_view text, bool left, bool right) {
        int length;
        while (left && !text.empty() && class_at(text, 0, length) == SPACE) text.remove_prefix(size_t(length));
        while (right && !text.empty()) {
            const size_t last = characters_back(text, text.size(), 1);
            if (class_at(text, last) != SPACE) break;
            text = text.substr(0, last);
        }
        return text;
    }
};

}  // namespace fastllm
