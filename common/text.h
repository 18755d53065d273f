/*
 * Text: strict number parsing, UTF-8, one-line display of arbitrary bytes.
 */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/slice.h"

/* All of s as a decimal number in [min, max]. */
bool parse_int(struct slice s, int64_t min, int64_t max, int64_t *ret);
/* All of s as an octal number up to `max`. */
bool parse_octal(struct slice s, uint32_t max, uint32_t *ret);
bool parse_all_digits(struct slice s);

/* Valid UTF-8 (RFC 3629: no overlong forms, no surrogates, up to U+10FFFF). */
bool utf8_valid(struct slice s);
/* Length in bytes of the valid sequence at s, 0 if there is none. */
size_t utf8_len(struct slice s);

/*
 * Appends s on one line: control bytes and invalid UTF-8 as \n, \t, \xHH, at most `max` bytes,
 * ending in U+2026 where cut.
 */
void text_one_line(struct buf *b, struct slice s, size_t max);

/* Appends s as one word of the shell; plain words stay as they are. */
void text_shell_word(struct buf *b, struct slice s);

/* What is behind a thing of which there are n: "1 op", "2 ops". */
#define PLURAL(n) ((n) == 1 ? "" : "s")

/* strerror(3) as it stands within a line of ours: "permission denied". Valid until the thread's
 * next call. */
const char *errno_text(int error);

#endif
