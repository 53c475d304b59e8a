// The C++ of tokenization without Python: every kernel at every instruction set of the machine, on the cases that
// write_cases.py has written, whose answers come from the reference.
//
//     self_test CASES
//
// It is for machines that no Python is at hand for: Windows under wine, ARM64 under qemu, a static program with musl.
// The file holds numbers of 32 bits, little-endian, and strings, each behind its size; `run` says in which order.

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "encode/encode_batch.h"
#include "encode/worker.h"
#include "split/splitter.h"
#include "train/merge_learner.h"
#include "train/word_counter.h"

using namespace fastllm;

namespace {

uint64_t checks = 0, failures = 0;

void check(bool holds, const char *what, Isa isa, std::string_view text) {
    checks++;
    if (holds) return;
    if (++failures <= 20) {
        std::printf("wrong: %s at %s: %.*s\n", what, ISA_NAMES[isa], int(std::min<size_t>(text.size(), 200)),
                    text.data());
    }
}

// ---- the file of cases

class Cases {
  public:
    explicit Cases(const char *path) {
        std::ifstream file(path, std::ios::binary);
        bytes_.assign(std::istreambuf_iterator<char>(file), {});
        if (bytes_.empty()) throw std::runtime_error("no cases in the file");
    }

    uint32_t number() {
        uint32_t value;
        need(4);
        std::memcpy(&value, bytes_.data() + at_, 4);
        at_ += 4;
        return value;
    }

    // A copy of its own: what is read behind its end is another's memory, which checking tools see.
    std::string text() {
        const size_t size = number();
        need(size);
        at_ += size;
        return bytes_.substr(at_ - size, size);
    }

    std::vector<uint32_t> numbers() {
        std::vector<uint32_t> values(number());
        for (uint32_t &value : values) value = number();
        return values;
    }

  private:
    std::string bytes_;
    size_t at_ = 0;

    void need(size_t size) const {
        if (bytes_.size() - at_ < size) throw std::runtime_error("the file of cases ends too early");
    }
};

Pattern read_pattern(Cases &cases) {
    const std::string name = cases.text();
    return pattern_named(name, cases.number());
}

std::vector<Isa> isas() {
    std::vector<Isa> all;
    for (int isa = 0; isa <= supported_isa(); isa++) all.push_back(Isa(isa));
    return all;
}

// ---- characters

void fill_class_table(Cases &cases) {
    PageArray<uint8_t> class_of_each;
    class_of_each.resize(0x110000);
    for (uint32_t runs = cases.number(); runs > 0; runs--) {
        const uint32_t first = cases.number(), size = cases.number(), value = cases.number();
        std::memset(class_of_each.data() + first, int(value), size);
    }
    add_pages(class_of_each);
}

void check_utf8(Cases &cases) {
    for (uint32_t texts = cases.number(); texts > 0; texts--) {
        const std::string text = cases.text();
        const bool valid = cases.number();
        for (const Isa isa : isas()) check(count::is_utf8(isa, text) == valid, "UTF-8 check", isa, text);
    }
}

// The characters of valid UTF-8, and the bytes that the widest of them takes.
std::u32string characters_of(std::string_view text, int &width) {
    std::u32string characters;
    width = 1;
    for (size_t i = 0; i < text.size();) {
        int length;
        const uint32_t character = decode_at(text, i, length);
        width = character > 0xFFFF ? 4 : std::max(width, character > 0xFF ? 2 : 1);
        characters.push_back(character);
        i += size_t(length);
    }
    return characters;
}

template <typename Character>
void check_writing(const std::u32string &characters, std::string_view text) {
    const std::vector<Character> narrow(characters.begin(), characters.end());
    for (const Isa isa : isas()) {
        ByteBuffer memory;
        std::string_view written;
        const bool done = to_utf8(isa, {narrow.data(), narrow.size(), int(sizeof(Character))}, memory, written);
        check(done && written == text, "writing UTF-8", isa, text);
    }
}

void check_writing(std::string_view text) {
    int width;
    const std::u32string characters = characters_of(text, width);
    if (width == 1) check_writing<uint8_t>(characters, text);
    if (width <= 2) check_writing<uint16_t>(characters, text);
    check_writing<uint32_t>(characters, text);
}

// ---- splitting

void check_split(Cases &cases) {
    const Pattern pattern = read_pattern(cases);
    for (uint32_t texts = cases.number(); texts > 0; texts--) {
        const std::string text = cases.text();
        std::vector<uint64_t> expected((text.size() + 63) / 64), starts(expected.size());
        size_t start = 0;
        for (const uint32_t size : cases.numbers()) {
            expected[start / 64] |= uint64_t(1) << start % 64;
            start += size;
        }
        check_writing(text);
        Splitter(pattern, BASELINE).find_starts_by_scanner(text, starts.data());
        check(starts == expected, "scanner", BASELINE, text);
        for (const Isa isa : isas()) {
            SplitScratch scratch;
            Splitter(pattern, isa).split(text, starts, scratch);
            check(starts == expected, "splitting", isa, text);
        }
    }
}

// ---- encoding

bool same_ids(const IdBuffer &found, const std::vector<uint32_t> &expected) {
    return found.size == expected.size() && std::equal(expected.begin(), expected.end(), found.data);
}

Text text_of(const std::string &text) { return {text.data(), text.size(), 0}; }

void check_encoding(const WorkerOptions &options, const Splitter &splitter, const std::vector<std::string> &texts,
                    const std::vector<std::vector<uint32_t>> &expected) {
    Worker worker(options);
    for (int times = 0; times < 2; times++) {  // the second time from the cache, unless that is too small
        for (size_t i = 0; i < texts.size(); i++) {
            worker.begin();
            worker.encode_text(splitter, text_of(texts[i]));
            check(worker.ok() && same_ids(worker.out, expected[i]), "encoding", options.isa, texts[i]);
        }
    }
    if (options.cache_bytes == 1) check(worker.cache.evictions > 1, "emptying the cache", options.isa, "");
    BatchEncoder batch;
    std::vector<std::unique_ptr<Worker>> workers;
    for (int i = 0; i < 3; i++) workers.push_back(std::make_unique<Worker>(options));
    for (const auto &one : workers) one->begin();
    std::vector<uint32_t> joined;
    for (int times = 0; times < 4; times++) {
        for (const std::string &text : texts) batch.add(splitter, text_of(text), true);
        for (const auto &ids : expected) joined.insert(joined.end(), ids.begin(), ids.end());
    }
    batch.run(workers, splitter);
    check(same_ids(batch.ids, joined), "a batch on three threads", options.isa, "");
}

void check_vocabulary(Cases &cases) {
    const Pattern pattern = read_pattern(cases);
    const bool drop_unknown = cases.number();
    Vocabulary vocabulary;
    for (uint32_t tokens = cases.number(); tokens > 0; tokens--) {
        const std::string token = cases.text();
        vocabulary.add_token(token, cases.number());
    }
    vocabulary.index_tokens();
    const uint32_t merges = cases.number();  // none: by rank
    std::vector<Pair> pairs;
    for (uint32_t rank = 0; rank < merges; rank++) {
        const std::string left = cases.text(), right = cases.text();
        pairs.push_back({vocabulary.find_token(left), vocabulary.find_token(right), rank,
                         vocabulary.find_token(left + right)});
    }
    if (merges) vocabulary.index_pairs(pairs, true);
    else vocabulary.index_pairs_of_ranks();
    std::vector<std::string> texts(cases.number());
    std::vector<std::vector<uint32_t>> expected;
    for (std::string &text : texts) {
        text = cases.text();
        expected.push_back(cases.numbers());
    }
    for (const Isa isa : isas()) {
        for (const size_t cache_bytes : {size_t(1), size_t(1) << 16, size_t(64) << 20}) {
            const WorkerOptions options{&vocabulary, nullptr, merges == 0, drop_unknown, isa, cache_bytes};
            check_encoding(options, Splitter(pattern, isa), texts, expected);
        }
    }
}

// ---- training

void check_training(Cases &cases) {
    const Pattern pattern = read_pattern(cases);
    TrainingOptions options;
    options.first_seen = cases.number();
    options.min_frequency = cases.number();
    const std::string bytes_in_order = cases.text();
    std::vector<std::string> tokens;
    for (uint32_t i = 0; i < 256; i++) {
        options.id_of_byte[uint8_t(bytes_in_order[i])] = i;
        options.token_lengths.push_back(1);
        tokens.push_back(bytes_in_order.substr(i, 1));
    }
    std::vector<std::string> texts(cases.number());
    for (std::string &text : texts) text = cases.text();
    std::map<std::string, uint64_t> words;
    for (uint32_t count = cases.number(); count > 0; count--) {
        const std::string word = cases.text();
        words[word] = cases.number();
    }
    options.num_merges = cases.number();
    std::vector<std::string> lefts, rights;
    for (uint32_t merges = cases.number(); merges > 0; merges--) {
        lefts.push_back(cases.text());
        rights.push_back(cases.text());
    }
    for (const Isa isa : isas()) {
        WordTable table(true, isa > BASELINE);
        WordCounter counter{Splitter(pattern, isa)};
        uint64_t order = 0;
        for (const std::string &text : texts) {
            counter.count_text(table, text, order);
            order += text.size() + 1;
        }
        std::map<std::string, uint64_t> counted;
        table.for_each([&](std::string_view word, uint64_t count, uint64_t) {
            counted[std::string(word)] = count;
            return true;
        });
        check(counted == words, "counting words", isa, "");
        std::unique_ptr<Learner> learner(new_learner(options, tokens));
        check(learner->begin(table, false, nullptr, nullptr), "laying words out", isa, "");
        learner->learn(options.num_merges);
        check(learner->learned.size() == lefts.size(), "number of merges", isa, "");
        std::vector<std::string> made = tokens;
        for (size_t i = 0; i < learner->learned.size() && i < lefts.size(); i++) {
            const LearnedMerge &merge = learner->learned[i];
            check(made[merge.left] == lefts[i] && made[merge.right] == rights[i], "merge", isa, lefts[i] + rights[i]);
            made.push_back(lefts[i] + rights[i]);
        }
    }
}

void run(Cases &cases) {
    const auto each = [&](const char *what, void (*check_one)(Cases &)) {
        const uint64_t before = checks;
        for (uint32_t count = cases.number(); count > 0; count--) check_one(cases);
        std::printf("%s: %llu checks\n", what, (unsigned long long)(checks - before));
    };
    fill_class_table(cases);
    check_utf8(cases);
    each("characters and splitting", check_split);
    each("vocabularies, cache and merging", check_vocabulary);
    each("counting and training", check_training);
}

}  // namespace

int main(int count, char **arguments) {
    if (count != 2) return std::printf("self_test CASES\n"), 2;
    try {
        Cases cases(arguments[1]);
        run(cases);
    } catch (const std::exception &error) {
        std::printf("error: %s\n", error.what());
        return 2;
    }
    std::string names;
    for (const Isa isa : isas()) names += std::string(" ") + ISA_NAMES[isa];
    std::printf("%llu checks at%s: %llu wrong\n", (unsigned long long)checks, names.c_str(),
                (unsigned long long)failures);
    return failures ? 1 : 0;
}
