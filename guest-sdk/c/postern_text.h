/* Reads a rule's settings, and puts lines of text together, without a C library. Belongs to postern.h. */
#ifndef POSTERN_TEXT_H
#define POSTERN_TEXT_H

#include "postern.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether these bytes are just this text. */
static inline bool postern_is(postern_bytes bytes, const char *text) {
    size_t i = 0;
    while (i < bytes.length && text[i] != 0 && bytes.data[i] == (uint8_t)text[i]) i++;
    return i == bytes.length && text[i] == 0;
}

/* One of a rule's settings. */
typedef struct {
    postern_bytes name;
    /* The value as JSON writes it: a text with its quotes, a number, a list, ... */
    postern_bytes value;
} postern_setting;

/* The length of the JSON value, or name, that begins at `at`. */
static inline size_t postern_json_length(postern_bytes json, size_t at) {
    size_t depth = 0, i = at;
    bool is_text = false;
    for (; i < json.length; i++) {
        uint8_t c = json.data[i];
        if (is_text) {
            if (c == '\\') i++;
            else if (c == '"') is_text = false;
        } else if (c == '"') {
            is_text = true;
        } else if (c == '[' || c == '{') {
            depth++;
        } else if (depth > 0 && (c == ']' || c == '}')) {
            depth--;
        } else if (depth == 0 && (c == ',' || c == ':' || c == ']' || c == '}' || c == ' ')) {
            break;
        }
    }
    return (i < json.length ? i : json.length) - at;
}

/* Takes the next setting off the JSON object that the host handed to `rule_configure`; false if there are no more. The host writes it
 * without blanks between its parts, and it is always right, so nothing is checked here. */
static inline bool postern_next_setting(postern_bytes *json, postern_setting *setting) {
    size_t at = 0;
    /* What stands before a name: `{`, or `,` after the last value. */
    while (at < json->length && json->data[at] != '"') at++;
    if (at == json->length) return false;
    size_t length = postern_json_length(*json, at);
    setting->name.data = json->data + at + 1;
    setting->name.length = length < 2 ? 0 : length - 2;
    at += length + 1;
    if (at > json->length) at = json->length;
    setting->value.data = json->data + at;
    setting->value.length = postern_json_length(*json, at);
    json->data += at + setting->value.length;
    json->length -= at + setting->value.length;
    return true;
}

/* What is in a JSON text between its quotes, as it stands there: with `\n` for the end of a line, and so on. Nothing if it is no text. */
static inline postern_bytes postern_unquoted(postern_bytes value) {
    postern_bytes inside = {value.data + 1, value.length - 2};
    postern_bytes nothing = POSTERN_ZERO;
    return value.length >= 2 && value.data[0] == '"' ? inside : nothing;
}

/* A line of text that is put together; it begins all zero. What does not fit is left out. */
typedef struct {
    size_t length;
    uint8_t text[400];
} postern_line;

/* Appends a text. */
static inline void postern_add(postern_line *line, postern_bytes text) {
    if (text.length > sizeof(line->text) - line->length) return;
    for (size_t i = 0; i < text.length; i++) line->text[line->length++] = text.data[i];
}

/* Appends a number in decimal digits. */
static inline void postern_add_number(postern_line *line, uint64_t number) {
    uint8_t digits[20];
    size_t first = sizeof(digits);
    do {
        digits[--first] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    postern_bytes text = {digits + first, sizeof(digits) - first};
    postern_add(line, text);
}

/* The line so far; it lives as long as `line`. */
static inline postern_bytes postern_line_text(const postern_line *line) {
    postern_bytes text = {line->text, line->length};
    return text;
}

#ifdef __cplusplus
}
#endif
#endif
