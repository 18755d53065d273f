/*
 * The text being read: a cursor, its end (of the file, or of a fenced block), and places for
 * errors. Inside the parser a place is a pointer into the text; it becomes line and column only
 * when somebody is told.
 */
#ifndef CLIENT_NOTATION_SRC_H
#define CLIENT_NOTATION_SRC_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

struct src {
	const char *name;
	const char *begin, *p, *end; /* begin: of the whole file; end: of what is being read */
	unsigned strip;		     /* blanks that a fence in a list puts before each line */
	/* The last place that was worked out: asking in rising order is linear over all. */
	const char *known;
	unsigned known_line, known_col;
	unsigned failed; /* times src_skip_balanced found no end */
};

struct src_place {
	unsigned line, col; /* from 1; col counts characters */
};

void src_init(struct src *s, const char *name, struct slice text);
struct src_place src_place(struct src *s, const char *at);
/* "NAME:LINE:COL: text" ("NAME: text" where at is NULL); returns 1. */
int src_error(struct src *s, const char *at, struct err *e, const char *fmt, ...) _printf_(4, 5);

/* The byte at the cursor, 0 at the end; at + n. A NUL in the text reads as 1, which is nothing
 * either. */
char src_peek(const struct src *s);
char src_peek_at(const struct src *s, size_t n);
bool src_starts(const struct src *s, const char *word);
/* The cursor is at the end of a line (or of the text). */
bool src_at_eol(const struct src *s);
void src_skip_line(struct src *s);	    /* to the first byte of the next */
struct slice src_line(const struct src *s); /* from the cursor to the end of the line, without
					       blanks at either end */

bool char_is_blank(char c); /* blank, tab, CR */
bool char_is_ident(
	char c); /* of a name, not as its first: letters, digits, _, $, bytes from 0x80 */
bool char_is_digit(char c);

/* Blanks on this line (no-break spaces and byte order marks too). */
void src_skip_blanks(struct src *s);
/* A comment here: //, #, or slash-star. */
bool src_at_comment(const struct src *s);
/* Steps over the comment here; 1 when a block comment is not closed. */
int src_skip_comment(struct src *s, struct err *e) _must_check_;
/* Blanks, newlines and comments; *ret_comment is set (never cleared) when there was a comment. */
int src_skip_space(struct src *s, bool *ret_comment, struct err *e) _must_check_;
/* A name: letters, digits, _, $, non-ASCII letters; absent when there is none. Moves past it. */
struct slice src_ident(struct src *s);
/* An ellipsis here: "..." or U+2026; its length or 0. */
size_t src_ellipsis(const struct src *s);

/*
 * Steps over one string, or over a bracket and all up to its partner, minding strings and comments
 * inside. False (cursor unmoved) where it is not closed.
 */
bool src_skip_balanced(struct src *s);

#endif
