/*
 * MessagePack for tests, written as text: JSON with 'single quotes', b'bin', \xHH, nil, and (1.0 a
 * float). `mp_text(&buf, text)` appends it. A mistake in the text ends the test program.
 */
#ifndef TESTS_UNIT_MP_TEXT_H
#define TESTS_UNIT_MP_TEXT_H

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/pack.h"

static void mp_text_value(struct pk *pk, const char **s, bool key);

static void mp_text_blank(const char **s)
{
	while (isspace((unsigned char)**s) || **s == ',' || **s == ':')
		++*s;
}

static void mp_text_wrong(const char *s)
{
	fprintf(stderr, "mp_text: cannot read '%s'\n", s);
	abort();
}

static void mp_text_str(struct pk *pk, const char **s, bool key)
{
	struct buf b = BUF_INIT;
	bool bin = **s == 'b';
	for (*s += bin + 1; **s != '\''; ++*s) {
		unsigned c = (unsigned char)**s;
		if (c == '\0')
			mp_text_wrong(*s);
		if (c == '\\' && (*s)[1] == 'x') {
			sscanf(*s + 2, "%2x", &c);
			*s += 3;
		} else if (c == '\\') {
			++*s;
			c = **s == 'n' ? '\n' : (unsigned char)**s;
		}
		buf_addc(&b, (char)c);
	}
	++*s;
	if (key)
		pk_keyslice(pk, buf_slice(&b));
	else if (bin)
		pk_bin(pk, buf_slice(&b));
	else
		pk_str(pk, buf_slice(&b));
	buf_done(&b);
}

static void mp_text_number(struct pk *pk, const char **s)
{
	char *end_int, *end_float;
	long long i = strtoll(*s, &end_int, 10);
	double f = strtod(*s, &end_float);
	if (end_float == *s)
		mp_text_wrong(*s);
	if (end_float > end_int)
		pk_float(pk, f);
	else
		pk_int(pk, i);
	*s = end_float;
}

static bool mp_text_word(const char **s, const char *word)
{
	if (strncmp(*s, word, strlen(word)) != 0)
		return false;
	*s += strlen(word);
	return true;
}

static void mp_text_container(struct pk *pk, const char **s, bool map)
{
	if (map)
		pk_map(pk);
	else
		pk_array(pk);
	for (++*s, mp_text_blank(s); **s != (map ? '}' : ']'); mp_text_blank(s)) {
		if (map)
			mp_text_value(pk, s, true);
		mp_text_value(pk, s, false);
	}
	++*s;
	pk_end(pk);
}

static void mp_text_value(struct pk *pk, const char **s, bool key)
{
	mp_text_blank(s);
	if (**s == '{' || **s == '[')
		mp_text_container(pk, s, **s == '{');
	else if (**s == '\'' || (**s == 'b' && (*s)[1] == '\''))
		mp_text_str(pk, s, key);
	else if (mp_text_word(s, "nil"))
		pk_nil(pk);
	else if (mp_text_word(s, "true"))
		pk_bool(pk, true);
	else if (mp_text_word(s, "false"))
		pk_bool(pk, false);
	else
		mp_text_number(pk, s);
}

static inline struct slice mp_text(struct buf *b, const char *text)
{
	struct pk pk = PK_INIT(b);
	size_t start = b->len;
	mp_text_value(&pk, &text, false);
	return slice_of(b->p + start, b->len - start);
}

#endif
