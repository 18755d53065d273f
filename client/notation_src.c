#include "client/notation_src.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/errors.h"

void src_init(struct src *s, const char *name, struct slice text)
{
	*s = (struct src){ .name = name, .begin = text.p, .p = text.p, .end = text.p + text.len };
	s->known = s->begin;
	s->known_line = s->known_col = 1;
}

struct src_place src_place(struct src *s, const char *at)
{
	if (at < s->known) {
		s->known = s->begin;
		s->known_line = s->known_col = 1;
	}
	for (; s->known < at; s->known++) {
		if (*s->known == '\n') {
			s->known_line++;
			s->known_col = 1;
		} else if (((unsigned char)*s->known & 0xc0) != 0x80) {
			s->known_col++;
		}
	}
	return (struct src_place){ s->known_line, s->known_col };
}

int src_error(struct src *s, const char *at, struct err *e, const char *fmt, ...)
{
	char text[sizeof(e->text)];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (!at)
		return err_set(e, E_PARAMS, "%s: %s", s->name, text);
	struct src_place place = src_place(s, at);
	return err_set(e, E_PARAMS, "%s:%u:%u: %s", s->name, place.line, place.col, text);
}

char src_peek_at(const struct src *s, size_t n)
{
	if ((size_t)(s->end - s->p) <= n)
		return 0;
	return s->p[n] ? s->p[n] : 1;
}

char src_peek(const struct src *s)
{
	return src_peek_at(s, 0);
}

bool src_starts(const struct src *s, const char *word)
{
	size_t len = strlen(word);
	return (size_t)(s->end - s->p) >= len && memcmp(s->p, word, len) == 0;
}

bool src_at_eol(const struct src *s)
{
	return s->p == s->end || *s->p == '\n';
}

static const char *src_eol(const struct src *s)
{
	const char *eol = memchr(s->p, '\n', (size_t)(s->end - s->p));
	return eol ? eol : s->end;
}

void src_skip_line(struct src *s)
{
	s->p = src_eol(s);
	if (s->p < s->end)
		s->p++;
}

struct slice src_line(const struct src *s)
{
	const char *from = s->p, *to = src_eol(s);
	while (from < to && char_is_blank(*from))
		from++;
	while (to > from && char_is_blank(to[-1]))
		to--;
	return slice_of(from, (size_t)(to - from));
}

bool char_is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

bool char_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool char_is_ident(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || char_is_digit(c) || c == '_' ||
	       c == '$' || (unsigned char)c >= 0x80;
}

/* What is no letter although it is not ASCII: U+00A0, U+FEFF, general punctuation (quotes, dashes,
 * the ellipsis, arrows). */
static size_t src_odd_char(const struct src *s)
{
	static const char *const prefixes[] = { "\xc2\xa0", "\xef\xbb\xbf", "\xe2\x80",
						"\xe2\x86", "\xe2\x9c",	    "\xf0\x9f" };
	if (s->p == s->end || (unsigned char)*s->p < 0x80)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++)
		if (src_starts(s, prefixes[i]))
			return strlen(prefixes[i]);
	return 0;
}

void src_skip_blanks(struct src *s)
{
	for (;;) {
		if (s->p < s->end && char_is_blank(*s->p))
			s->p++;
		else if (src_starts(s, "\xc2\xa0"))
			s->p += 2;
		else if (src_starts(s, "\xef\xbb\xbf"))
			s->p += 3;
		else
			return;
	}
}

bool src_at_comment(const struct src *s)
{
	return src_peek(s) == '#' || src_starts(s, "//") || src_starts(s, "/*");
}

int src_skip_comment(struct src *s, struct err *e)
{
	if (!src_starts(s, "/*")) {
		s->p = src_eol(s);
		return 0;
	}
	const char *close = memmem(s->p + 2, (size_t)(s->end - s->p) - 2, "*/", 2);
	if (!close)
		return src_error(s, s->p, e, "this comment is not closed: '*/' is missing");
	s->p = close + 2;
	return 0;
}

int src_skip_space(struct src *s, bool *ret_comment, struct err *e)
{
	for (;;) {
		src_skip_blanks(s);
		if (src_at_comment(s)) {
			if (src_skip_comment(s, e))
				return 1;
			if (ret_comment)
				*ret_comment = true;
		} else if (s->p < s->end && *s->p == '\n') {
			s->p++;
		} else {
			return 0;
		}
	}
}

struct slice src_ident(struct src *s)
{
	const char *from = s->p;
	if (char_is_digit(src_peek(s)))
		return SLICE_NONE;
	while (char_is_ident(src_peek(s)) && !src_odd_char(s))
		s->p++;
	return s->p > from ? slice_of(from, (size_t)(s->p - from)) : SLICE_NONE;
}

size_t src_ellipsis(const struct src *s)
{
	return src_starts(s, "...") || src_starts(s, "\xe2\x80\xa6") ? 3 : 0;
}

static bool src_skip_string(struct src *s)
{
	const char *start = s->p;
	bool triple = src_starts(s, "\"\"\"");
	char quote = *s->p;
	s->p += triple ? 3 : 1;
	while (s->p < s->end) {
		if (*s->p == '\\') {
			s->p += s->end - s->p > 1 ? 2 : 1;
		} else if (triple ? src_starts(s, "\"\"\"") : *s->p == quote) {
			s->p += triple ? 3 : 1;
			return true;
		} else {
			s->p++;
		}
	}
	s->p = start;
	return false;
}

static bool src_is_quote(char c)
{
	return c == '"' || c == '\'' || c == '`';
}

/* A '#' inside text that we cannot read is a comment only where it looks like one: "issue #5" is
 * none. */
static bool src_at_clear_comment(const struct src *s)
{
	if (src_peek(s) != '#')
		return src_at_comment(s);
	return s->p > s->begin && (char_is_blank(s->p[-1]) || s->p[-1] == '\n') &&
	       char_is_blank(src_peek_at(s, 1));
}

/* One step inside brackets; false where a string or comment is not closed. */
static bool src_skip_token(struct src *s, unsigned *depth)
{
	char c = *s->p;
	if (src_is_quote(c))
		return src_skip_string(s);
	if (src_at_clear_comment(s))
		return src_skip_comment(s, NULL) == 0;
	s->p++;
	if (c == '(' || c == '[' || c == '{')
		(*depth)++;
	else if ((c == ')' || c == ']' || c == '}') && *depth > 0)
		(*depth)--;
	return true;
}

bool src_skip_balanced(struct src *s)
{
	const char *start = s->p;
	unsigned depth = 0;
	/* Each failure has read to the end: a text full of them must not cost its square. */
	if (s->failed > 16)
		return false;
	while (s->p < s->end && src_skip_token(s, &depth))
		if (depth == 0)
			return true;
	s->failed++;
	s->p = start;
	return false;
}
