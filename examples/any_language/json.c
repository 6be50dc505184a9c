#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS "0123456789"

/* --- Where things end: each returns what is behind, or NULL --- */

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* Return how many bytes a character has, 0 if this is not UTF-8. */
static size_t utf8_length(const char *at)
{
    const unsigned char *byte = (const unsigned char *)at;
    if (byte[0] < 0x80)
        return 1;
    size_t length = byte[0] >= 0xf0 ? 4 : byte[0] >= 0xe0 ? 3 : 2;
    if (byte[0] < 0xc2 || byte[0] > 0xf4)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
    int start = byte[0] << 8 | byte[1];
    bool too_long = (start >= 0xe000 && start < 0xe0a0) || (start >= 0xf000 && start < 0xf090);
    bool half_a_pair = start >= 0xeda0 && start < 0xee00;
    bool beyond_unicode = start >= 0xf490;
    return too_long || half_a_pair || beyond_unicode ? 0 : length;
}

/* Return the code that stands behind \u, -1 if none does. */
static long four_digits(const char *at)
{
    char digits[5] = "";
    strncat(digits, at, 4);
    return strspn(digits, DIGITS "abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

/* Return how many bytes an escape has, 0 if this is none. */
static size_t escape_length(const char *at)
{
    if (at[1] == 'u')
        return four_digits(at + 2) < 0 ? 0 : 6;
    return at[1] != '\0' && strchr("\"\\/bfnrt", at[1]) != NULL ? 2 : 0;
}

static const char *string_end(const char *at)
{
    for (at++; *at != '"';) {
        size_t length = *at == '\\' ? escape_length(at) : utf8_length(at);
        if (length == 0 || (unsigned char)*at < 0x20)
            return NULL;
        at += length;
    }
    return at + 1;
}

static const char *number_end(const char *at)
{
    at += *at == '-';
    size_t digits = strspn(at, DIGITS);
    if (digits == 0 || (*at == '0' && digits > 1))
        return NULL;
    at += digits;
    if (*at == '.') {
        if ((digits = strspn(++at, DIGITS)) == 0)
            return NULL;
        at += digits;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '-' || *at == '+';
        if ((digits = strspn(at, DIGITS)) == 0)
            return NULL;
        at += digits;
    }
    return at;
}

static const char *name_end(const char *at)
{
    at = *at == '"' ? string_end(at) : NULL;
    if (at == NULL || *(at = skip_space(at)) != ':')
        return NULL;
    return skip_space(at + 1);
}

static const char *list_end(const char *at)
{
    bool is_object = *at == '{';
    char close = is_object ? '}' : ']';
    at = skip_space(at + 1);
    if (*at == close)
        return at + 1;
    for (;;) {
        if (is_object && (at = name_end(at)) == NULL)
            return NULL;
        if ((at = json_end(at)) == NULL)
            return NULL;
        at = skip_space(at);
        if (*at == close)
            return at + 1;
        if (*at != ',')
            return NULL;
        at = skip_space(at + 1);
    }
}

const char *json_end(const char *value)
{
    static const char *const words[] = {"null", "true", "false", "NaN", "Infinity", "-Infinity"};
    if (*value == '"')
        return string_end(value);
    if (*value == '{' || *value == '[')
        return list_end(value);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strncmp(value, words[i], strlen(words[i])) == 0)
            return value + strlen(words[i]);
    return number_end(value);
}

/* --- Reading, of what is known to be valid --- */

/* Write a character as UTF-8; return how many bytes that took. */
static size_t put_utf8(char *to, long code)
{
    size_t length = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)(length == 1 ? code : (0xf00 >> length) | code);
    return length;
}

/* Write the character that an escape stands for; return how many bytes that took. */
static size_t put_escaped(char *to, const char **at)
{
    static const char names[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    char name = (*at)[1];
    if (name != 'u') {
        *at += 2;
        return put_utf8(to, meanings[strchr(names, name) - names]);
    }
    long code = four_digits(*at + 2);
    *at += 6;
    long low = (*at)[0] == '\\' && (*at)[1] == 'u' ? four_digits(*at + 2) : 0;
    if (code >= 0xd800 && code < 0xdc00 && low >= 0xdc00 && low < 0xe000) {
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        *at += 6;
    } else if (code >= 0xd800 && code < 0xe000)
        code = 0xfffd;
    return put_utf8(to, code);
}

/* Copy a string, as json_string does. */
static bool copy_string(const char *at, char *text, size_t size)
{
    size_t used = 0;
    for (at++; *at != '"';) {
        char character[4];
        size_t length = 1;
        if (*at == '\\')
            length = put_escaped(character, &at);
        else
            character[0] = *at++;
        if (*character == '\0' || used + length >= size)
            return false;
        memcpy(text + used, character, length);
        used += length;
    }
    text[used] = '\0';
    return true;
}

const char *json_member(const char *object, const char *name)
{
    if (*object != '{' || json_end(object) == NULL)
        return NULL;
    for (const char *at = skip_space(object + 1); *at == '"'; at = skip_space(at)) {
        char found[256];
        const char *value = name_end(at);
        if (copy_string(at, found, sizeof found) && strcmp(found, name) == 0)
            return value;
        at = skip_space(json_end(value));
        at += *at == ',';
    }
    return NULL;
}

bool json_number(const char *object, const char *name, double *number)
{
    const char *at = json_member(object, name);
    if (at == NULL || strchr(DIGITS "-NI", *at) == NULL)
        return false;
    *number = strtod(at, NULL);
    return true;
}

bool json_string(const char *object, const char *name, char *text, size_t size)
{
    const char *at = json_member(object, name);
    return at != NULL && *at == '"' && size > 0 && copy_string(at, text, size);
}

/* --- Writing --- */

char *json_from_number(char *text, double number)
{
    if (isfinite(number))
        snprintf(text, JSON_NUMBER, "%.17g", number);
    else
        strcpy(text, isnan(number) ? "NaN" : number > 0 ? "Infinity" : "-Infinity");
    return text;
}

char *json_from_string(char *text, const char *string)
{
    char *to = text;
    *to++ = '"';
    while (*string != '\0') {
        size_t length = utf8_length(string);
        if (length == 0)
            *to++ = '?';
        else if (*string == '"' || *string == '\\' || (unsigned char)*string < 0x20)
            to += sprintf(to, "\\u%04x", (unsigned)*string);
        else
            memcpy(to, string, length), to += length;
        string += length + (length == 0);
    }
    strcpy(to, "\"");
    return text;
}
