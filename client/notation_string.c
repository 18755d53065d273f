/*
 * String literals. Only \n \t \r \\ \" \' \` \uXXXX \xHH and backslash-newline are translated; any
 * other \c stays as written, so that `sed 's/\./,/'` means what it says. In backticks \${ is a ${
 * that nobody fills in.
 */
#include "client/notation_value.h"

#include <string.h>

#include "common/text.h"

/* One literal being decoded into sc->text. */
struct nv_literal {
	const char *at; /* its opening quote */
	char quote;
	bool triple;
	bool unbound; /* a name in it is not bound */
};

bool nv_at_string(const struct src *s)
{
	char c = src_peek(s);
	return c == '"' || c == '\'' || c == '`';
}

static int nv_hex(const struct src *s, size_t from, size_t digits)
{
	int v = 0;
	for (size_t i = from; i < from + digits; i++) {
		char c = src_peek_at(s, i);
		int digit = char_is_digit(c)	   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;
		if (digit < 0)
			return -1;
		v = v * 16 + digit;
	}
	return v;
}

static void nv_add_char(struct buf *b, unsigned c)
{
	if (c < 0x80) {
		buf_addc(b, (char)c);
	} else if (c < 0x800) {
		buf_add(b, (char[2]){ (char)(0xc0 | c >> 6), (char)(0x80 | (c & 63)) }, 2);
	} else if (c < 0x10000) {
		buf_add(b,
			(char[3]){ (char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 63)),
				   (char)(0x80 | (c & 63)) },
			3);
	} else {
		buf_add(b,
			(char[4]){ (char)(0xf0 | c >> 18), (char)(0x80 | (c >> 12 & 63)),
				   (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63)) },
			4);
	}
}

/* \uXXXX at the cursor, a pair of surrogates as one character. */
static enum note nv_unicode(struct nv_scope *sc, int unit)
{
	struct src *s = &sc->src;
	const char *at = s->p;
	s->p += 6;
	if (unit >= 0xd800 && unit < 0xdc00 && src_starts(s, "\\u")) {
		int low = nv_hex(s, 2, 4);
		if (low >= 0xdc00 && low < 0xe000) {
			s->p += 6;
			nv_add_char(&sc->text, 0x10000u + (((unsigned)unit - 0xd800u) << 10) +
						       ((unsigned)low - 0xdc00u));
			return NOTE_OK;
		}
	}
	if (unit >= 0xd800 && unit < 0xe000)
		return nv_error(sc, at, "\\u%04x is half of a character: the other half is missing",
				unit);
	nv_add_char(&sc->text, (unsigned)unit);
	return NOTE_OK;
}

/* After a newline inside the literal: blanks that belong to the fence around it. */
static void nv_strip_indent(struct src *s)
{
	for (unsigned i = 0; i < s->strip && (src_peek(s) == ' ' || src_peek(s) == '\t'); i++)
		s->p++;
}

static enum note nv_escape(struct nv_scope *sc, const struct nv_literal *l)
{
	static const char letters[][2] = { { 'n', '\n' },  { 't', '\t' }, { 'r', '\r' },
					   { '\\', '\\' }, { '"', '"' },  { '\'', '\'' },
					   { '`', '`' } };
	struct src *s = &sc->src;
	char c = src_peek_at(s, 1);
	for (size_t i = 0; i < ARRAY_SIZE(letters); i++) {
		if (c == letters[i][0]) {
			buf_addc(&sc->text, letters[i][1]);
			s->p += 2;
			return NOTE_OK;
		}
	}
	int code = c == 'u' ? nv_hex(s, 2, 4) : c == 'x' ? nv_hex(s, 2, 2) : -1;
	if (code >= 0 && c == 'u')
		return nv_unicode(sc, code);
	bool line = c == '\n' || (c == '\r' && src_peek_at(s, 2) == '\n');
	if (code >= 0) {
		nv_add_char(&sc->text, (unsigned)code);
		s->p += 4;
	} else if (line) {
		s->p += c == '\r' ? 3 : 2;
		nv_strip_indent(s);
	} else if (c == '$' && l->quote == '`' && src_peek_at(s, 2) == '{') {
		buf_adds(&sc->text, "${");
		s->p += 3;
	} else {
		buf_addc(&sc->text, *s->p++);
	}
	return NOTE_OK;
}

/* "${ a.b }" at the cursor: the name, with the cursor behind it; absent (cursor unmoved) for
 * anything else. */
static struct slice nv_template_name(struct src *s)
{
	const char *start = s->p;
	s->p += 2;
	src_skip_blanks(s);
	const char *from = s->p;
	struct slice part = src_ident(s);
	while (part.p && src_peek(s) == '.') {
		s->p++;
		part = src_ident(s);
	}
	const char *to = s->p;
	src_skip_blanks(s);
	if (part.p && src_peek(s) == '}') {
		s->p++;
		return slice_of(from, (size_t)(to - from));
	}
	s->p = start;
	return SLICE_NONE;
}

static enum note nv_fill_in(struct nv_scope *sc, struct slice name, const char *at,
			    struct nv_literal *l)
{
	struct nv *v;
	enum note r = nv_resolve(sc, name, at, true, &v);
	if (r)
		return r;
	if (v->type == NV_UNBOUND) {
		l->unbound = true;
		return NOTE_OK;
	}
	if (v->type == NV_STR && nv_spend(sc, at, v->s.len))
		return NOTE_ERROR;
	return nv_to_text(sc, v, at, &sc->text);
}

static enum note nv_template(struct nv_scope *sc, struct nv_literal *l)
{
	struct src *s = &sc->src;
	const char *at = s->p;
	struct slice name = nv_template_name(s);
	bool leave = sc->options->allow_template && !(name.p && nv_find(sc, name));
	if (leave && name.p) {
		buf_add(&sc->text, at, (size_t)(s->p - at));
		return NOTE_OK;
	}
	if (name.p)
		return nv_fill_in(sc, name, at, l);
	if (!leave) {
		const char *eol = memchr(at, '\n', (size_t)(s->end - at));
		const char *brace = memchr(at, '}', (size_t)((eol ? eol : s->end) - at));
		int len = brace && brace - at < 60 ? (int)(brace + 1 - at) : 2;
		return nv_soft(sc, at,
			       "'%.*s' in backticks is not evaluated: write \\%.*s, or give "
			       "--allow-template, to "
			       "leave it to the shell",
			       len, at, len, at);
	}
	buf_adds(&sc->text, "${");
	s->p += 2;
	return NOTE_OK;
}

static bool nv_at_close(const struct src *s, const struct nv_literal *l)
{
	return l->triple ? src_starts(s, "\"\"\"") : *s->p == l->quote;
}

/* Copies up to the next byte that may mean something. */
static void nv_plain(struct nv_scope *sc)
{
	struct src *s = &sc->src;
	const char *from = s->p;
	do
		s->p++;
	while (s->p < s->end && !strchr("\\\"'`$\r\n", *s->p));
	buf_add(&sc->text, from, (size_t)(s->p - from));
}

static enum note nv_literal_rest(struct nv_scope *sc, struct nv_literal *l)
{
	struct src *s = &sc->src;
	while (s->p < s->end && !nv_at_close(s, l)) {
		enum note r = NOTE_OK;
		if (*s->p == '\\') {
			r = nv_escape(sc, l);
		} else if (l->quote == '`' && src_starts(s, "${")) {
			r = nv_template(sc, l);
		} else if (src_starts(s, "\r\n")) {
			s->p++;
		} else if (*s->p == '\n') {
			buf_addc(&sc->text, *s->p++);
			nv_strip_indent(s);
		} else {
			nv_plain(sc);
		}
		if (r)
			return r;
	}
	return s->p < s->end ? NOTE_OK
			     : nv_error(sc, l->at, "this string is not closed: %s is missing",
					l->triple	  ? "\"\"\""
					: l->quote == '"' ? "'\"'"
					: l->quote == '`' ? "'`'"
							  : "\"'\"");
}

enum note nv_parse_string(struct nv_scope *sc, struct nv **ret)
{
	struct src *s = &sc->src;
	struct nv_literal l = { .at = s->p, .quote = *s->p, .triple = src_starts(s, "\"\"\"") };
	size_t marks = l.triple ? 3 : 1;
	buf_clear(&sc->text);
	s->p += marks;
	enum note r = nv_literal_rest(sc, &l);
	if (r)
		return r;
	s->p += marks;
	struct nv *v = nv_new(sc, l.unbound ? NV_UNBOUND : NV_STR, l.at);
	if (!l.unbound)
		v->s = arena_copy(sc->arena, buf_slice(&sc->text));
	*ret = v;
	return NOTE_OK;
}
