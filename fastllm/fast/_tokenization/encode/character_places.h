// Which character of a text each of its bytes belongs to. Included once per instruction set, inside its namespace.
//
// Algorithm. 64 bytes at a time: ASCII is counted on by vectors, others byte by byte.
//
//     text      a  é     b
//     bytes     61 C3 A9 62
//     places    0  1  1  2
//
// Invariants. Text is valid UTF-8; `places` has room for a place a byte.
//
// Cost. ASCII: four bytes written for each. Others: some two operations a byte.

static bool is_ascii(std::string_view text) {
    for (size_t i = 0; i < text.size(); i += 64) {
        if (Bytes64(text.data() + i, text.size() - i).not_ascii()) return false;
    }
    return true;
}

static void count_characters(std::string_view text, uint32_t *places) {
    uint32_t next = 0;
    for (size_t i = 0; i < text.size(); i += 64) {
        const size_t count = text.size() - i < 64 ? text.size() - i : 64;
        if (!Bytes64(text.data() + i, text.size() - i).not_ascii()) {
            for (size_t k = 0; k < count; k++) places[i + k] = next + uint32_t(k);
            next += uint32_t(count);
            continue;
        }
        for (size_t k = i; k < i + count; k++) {
            next += !is_continuation(uint8_t(text[k]));
            places[k] = next - 1;
        }
    }
}
