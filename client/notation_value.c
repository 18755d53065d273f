#include "client/notation_value.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "client/json.h"
#include "common/text.h"
#include "proto/limits.h"

#define NV_EXPRESSIONS                                                                             \
	"only \"a\" + \"b\", [...].join(\"\\n\") and JSON.stringify(literal) are worked out"

static enum note nv_primary(struct nv_scope *sc, struct nv **ret);

static enum note nv_enter(struct nv_scope *sc)
{
	if (sc->depth >= LIMIT_DEPTH_IN)
		return nv_error(sc, sc->src.p, "nested more than %d deep", LIMIT_DEPTH_IN);
	sc->depth++;
	return NOTE_OK;
}

static enum note nv_placeholder(struct nv_scope *sc, const char *at)
{
	return nv_soft(sc, at, "a placeholder stands here: write out what it stands for");
}

static enum note nv_expression(struct nv_scope *sc, const char *at)
{
	return nv_soft(sc, at, "this expression is not evaluated: " NV_EXPRESSIONS);
}

/* ---- numbers ---- */

static void nv_skip_digits(struct src *s)
{
	while (char_is_digit(src_peek(s)))
		s->p++;
}

/* Steps over a decimal number; true when it has a point or an exponent. */
static bool nv_skip_decimal(struct src *s)
{
	bool real = false;
	nv_skip_digits(s);
	if (src_peek(s) == '.' && char_is_digit(src_peek_at(s, 1))) {
		real = true;
		s->p++;
		nv_skip_digits(s);
	}
	char c = src_peek_at(s, 1);
	size_t sign = c == '-' || c == '+';
	if ((src_peek(s) == 'e' || src_peek(s) == 'E') && char_is_digit(src_peek_at(s, 1 + sign))) {
		real = true;
		s->p += 1 + sign;
		nv_skip_digits(s);
	}
	return real;
}

static enum note nv_real(struct nv_scope *sc, const char *from, struct nv *v)
{
	char text[400];
	size_t len = (size_t)(sc->src.p - from);
	if (len >= sizeof(text))
		return nv_error(sc, from, "a number with too many digits");
	memcpy(text, from, len);
	text[len] = '\0';
	v->type = NV_REAL;
	v->d = strtod(text, NULL);
	return isfinite(v->d) ? NOTE_OK : nv_error(sc, from, "the number %s is too large", text);
}

static enum note nv_integer(struct nv_scope *sc, const char *from, struct nv *v)
{
	struct slice text = slice_of(from, (size_t)(sc->src.p - from));
	const char *digits = from + (*from == '-' || *from == '+');
	size_t n = (size_t)(sc->src.p - digits);
	if (n > 1 && *digits == '0')
		return nv_error(sc, from,
				"a number must not begin with 0: for an octal mode write \"%.*s\"",
				SLICE_FMT(text));
	if (*from == '+')
		text = slice_of(digits, n);
	if (!parse_int(text, -LIMIT_INT, LIMIT_INT, &v->i))
		return nv_error(sc, from, "integers lie within +-2^53");
	return NOTE_OK;
}

/* "5m", "10+ todos", "0x1f": what is glued to the digits makes it something else. */
static enum note nv_number_tail(struct nv_scope *sc, const char *from)
{
	struct src *s = &sc->src;
	if (src_peek(s) == '+') {
		s->p++;
		src_skip_blanks(s);
		if (char_is_ident(src_peek(s)) && !char_is_digit(src_peek(s)))
			return nv_placeholder(sc, from);
		return NOTE_OK;
	}
	if (!char_is_ident(src_peek(s)) && !src_ellipsis(s))
		return NOTE_OK;
	while (char_is_ident(src_peek(s)) && !src_ellipsis(s))
		s->p++;
	return nv_error(sc, from, "'%.*s' is no number: write \"%.*s\"", (int)(s->p - from), from,
			(int)(s->p - from), from);
}

static enum note nv_number(struct nv_scope *sc, struct nv **ret)
{
	const char *from = sc->src.p;
	struct nv *v = nv_new(sc, NV_INT, from);
	if (!char_is_digit(*from) && *from != '.')
		sc->src.p++;
	bool real = nv_skip_decimal(&sc->src);
	const char *to = sc->src.p;
	enum note r = nv_number_tail(sc, from);
	sc->src.p = to;
	if (r == NOTE_OK)
		r = real ? nv_real(sc, from, v) : nv_integer(sc, from, v);
	*ret = v;
	return r;
}

static bool nv_at_number(const struct src *s)
{
	size_t sign = src_peek(s) == '-' || src_peek(s) == '+';
	size_t point = src_peek_at(s, sign) == '.';
	return char_is_digit(src_peek_at(s, sign + point));
}

/* ---- containers ---- */

/* "[multiple todos at once]": the first word looked like a name, but the next one shows that it is
 * prose. */
static enum note nv_prose(struct nv_scope *sc, const struct nv *last)
{
	size_t n = sc->n_unbound;
	if (n > 0 && sc->unbound[n - 1].at == last->at)
		nv_forget_unbound(sc, n - 1);
	return nv_placeholder(sc, last->at);
}

enum note nv_separator(struct nv_scope *sc, const struct nv *last, char close, bool *ret_comment)
{
	struct src *s = &sc->src;
	const char *from = s->p;
	if (nv_space(sc, ret_comment))
		return NOTE_ERROR;
	char c = src_peek(s);
	if (c == ',' || (c == ';' && close == '}')) {
		s->p++;
		return NOTE_OK;
	}
	if (c == close || s->p == s->end)
		return NOTE_OK;
	bool new_line = memchr(from, '\n', (size_t)(s->p - from)) != NULL;
	bool two_strings = last && last->type == NV_STR && nv_at_string(s);
	if (new_line && close == ')')
		return nv_error(sc, s->p, "a comma or ')' is missing before this");
	if (new_line && !two_strings &&
	    (char_is_ident(c) || nv_at_string(s) || c == '{' || c == '['))
		return NOTE_OK;
	if (c == ')' || c == ']' || c == '}')
		return nv_error(sc, s->p, "'%c' where '%c' was expected", c, close);
	if (last && last->type == NV_UNBOUND && char_is_ident(c))
		return nv_prose(sc, last);
	if (src_ellipsis(s))
		return nv_placeholder(sc, s->p);
	return two_strings || nv_at_string(s) ? nv_error(sc, s->p, "a comma is missing before this")
					      : nv_expression(sc, s->p);
}

static enum note nv_unclosed(struct nv_scope *sc, const struct nv *v, char open)
{
	return nv_error(sc, v->at, "this '%c' is not closed", open);
}

static enum note nv_array_items(struct nv_scope *sc, struct nv *v)
{
	bool comment = false;
	struct src *s = &sc->src;
	for (;;) {
		struct nv *item;
		if (nv_space(sc, &comment))
			return NOTE_ERROR;
		if (s->p == s->end)
			return nv_unclosed(sc, v, '[');
		if (*s->p == ']') {
			s->p++;
			v->only_comment = comment && v->count == 0;
			return NOTE_OK;
		}
		enum note r = nv_parse(sc, &item);
		if (r == NOTE_OK)
			r = nv_separator(sc, item, ']', &comment);
		if (r)
			return r;
		nv_add(v, item);
	}
}

static enum note nv_array(struct nv_scope *sc, struct nv **ret)
{
	struct nv *v = nv_new(sc, NV_ARRAY, sc->src.p);
	enum note r = nv_enter(sc);
	if (r)
		return r;
	sc->src.p++;
	r = nv_array_items(sc, v);
	sc->depth--;
	*ret = v;
	return r;
}

static enum note nv_key(struct nv_scope *sc, struct slice *ret, bool *ret_bare)
{
	struct src *s = &sc->src;
	const char *from = s->p;
	*ret_bare = false;
	if (src_ellipsis(s))
		return nv_placeholder(sc, from);
	if (nv_at_string(s)) {
		struct nv *text;
		enum note r = nv_parse_string(sc, &text);
		*ret = r == NOTE_OK && text->type == NV_STR ? text->s : slice_of("", 0);
		if (r == NOTE_OK && memchr(ret->p, 0, ret->len))
			return nv_error(sc, from, "a key holds no NUL");
		return r;
	}
	if (char_is_digit(src_peek(s))) {
		nv_skip_digits(s);
		*ret = slice_of(from, (size_t)(s->p - from));
		return NOTE_OK;
	}
	*ret = src_ident(s);
	*ret_bare = true;
	if (ret->p)
		return NOTE_OK;
	return nv_soft(sc, from, "a key was expected here, as in { key: value }");
}

static enum note nv_member_value(struct nv_scope *sc, struct slice key, bool bare,
				 const char *key_at, struct nv **ret)
{
	struct src *s = &sc->src;
	const char *after = s->p;
	if (nv_space(sc, NULL))
		return NOTE_ERROR;
	char c = src_peek(s), d = src_peek_at(s, 1);
	if (c == ':' || (c == '=' && d != '=' && d != '>')) {
		s->p++;
		return nv_space(sc, NULL) ? NOTE_ERROR : nv_parse(sc, ret);
	}
	if (!bare)
		return nv_error(sc, s->p, "':' and a value were expected after the key");
	if (c != ',' && c != '}' && c != ';' && !memchr(after, '\n', (size_t)(s->p - after)))
		return s->p == s->end ? NOTE_OK : nv_expression(sc, key_at);
	s->p = after;
	return nv_resolve(sc, key, key_at, false, ret);
}

static enum note nv_one_member(struct nv_scope *sc, struct nv *object)
{
	struct slice key;
	bool bare;
	const char *at = sc->src.p;
	struct nv *value = NULL;
	enum note r = nv_key(sc, &key, &bare);
	if (r == NOTE_OK)
		r = nv_member_value(sc, key, bare, at, &value);
	if (r == NOTE_OK && !value)
		r = nv_unclosed(sc, object, '{');
	if (r)
		return r;
	value->key = key;
	value->key_at = at;
	nv_add(object, value);
	return nv_separator(sc, NULL, '}', NULL);
}

/* Small objects by comparing, large ones by a table, so that no object costs its square. */
static enum note nv_check_twice(struct nv_scope *sc, const struct nv *object)
{
	_cleanup_json_ json_t *seen = object->count > 16 ? json_object() : NULL;
	for (const struct nv *m = object->first; m; m = m->next) {
		bool twice = false;
		if (seen) {
			twice = json_object_getn(seen, m->key.p, m->key.len) != NULL;
			json_object_setn_new_nocheck(seen, m->key.p, m->key.len, json_true());
		} else {
			for (const struct nv *o = object->first; o != m && !twice; o = o->next)
				twice = slice_eq(o->key, m->key);
		}
		if (twice)
			return nv_error(sc, m->key_at, "the key '%.*s' is given twice",
					SLICE_FMT(m->key));
	}
	return NOTE_OK;
}

static enum note nv_check_bin(struct nv_scope *sc, const struct nv *v)
{
	_cleanup_buf_ struct buf bytes = BUF_INIT;
	if (!nv_is_bytes(v) || base64_decode(v->first->s, &bytes))
		return NOTE_OK;
	return nv_error(sc, v->first->at, "$bin is not base64");
}

static enum note nv_object_members(struct nv_scope *sc, struct nv *v)
{
	struct src *s = &sc->src;
	for (;;) {
		if (nv_space(sc, NULL))
			return NOTE_ERROR;
		if (s->p == s->end)
			return nv_unclosed(sc, v, '{');
		if (*s->p == '}') {
			s->p++;
			enum note r = nv_check_twice(sc, v);
			return r ? r : nv_check_bin(sc, v);
		}
		enum note r = nv_one_member(sc, v);
		if (r)
			return r;
	}
}

static enum note nv_object(struct nv_scope *sc, struct nv **ret)
{
	struct nv *v = nv_new(sc, NV_OBJECT, sc->src.p);
	enum note r = nv_enter(sc);
	if (r)
		return r;
	sc->src.p++;
	r = nv_object_members(sc, v);
	sc->depth--;
	*ret = v;
	return r;
}

static enum note nv_paren(struct nv_scope *sc, struct nv **ret)
{
	struct src *s = &sc->src;
	const char *open = s->p;
	enum note r = nv_enter(sc);
	if (r)
		return r;
	s->p++;
	r = nv_space(sc, NULL);
	if (r == NOTE_OK)
		r = nv_parse(sc, ret);
	if (r == NOTE_OK)
		r = nv_space(sc, NULL);
	sc->depth--;
	if (r)
		return r;
	if (src_peek(s) != ')')
		return s->p == s->end ? nv_error(sc, open, "this '(' is not closed")
				      : nv_expression(sc, s->p);
	s->p++;
	(*ret)->paren = true;
	return NOTE_OK;
}

/* ---- names ---- */

/* The arguments of join() or stringify(): at most `max`; the cursor is at the parenthesis. */
static enum note nv_call_args(struct nv_scope *sc, struct nv **args, size_t max, size_t *ret_n)
{
	struct src *s = &sc->src;
	struct nv open = { .at = s->p };
	size_t n = 0;
	s->p++;
	for (;;) {
		if (nv_space(sc, NULL))
			return NOTE_ERROR;
		if (s->p == s->end)
			return nv_unclosed(sc, &open, '(');
		if (*s->p == ')') {
			s->p++;
			*ret_n = n;
			return NOTE_OK;
		}
		if (n == max)
			return nv_expression(sc, s->p);
		enum note r = nv_parse(sc, &args[n]);
		if (r == NOTE_OK)
			r = nv_separator(sc, args[n], ')', NULL);
		if (r)
			return r;
		n++;
	}
}

static enum note nv_stringify_call(struct nv_scope *sc, const char *at, struct nv **ret)
{
	struct nv *args[3] = { NULL };
	size_t n = 0;
	enum note r = nv_enter(sc);
	if (r)
		return r;
	r = nv_call_args(sc, args, 3, &n);
	sc->depth--;
	if (r)
		return r;
	if (n == 0)
		return nv_error(sc, at, "JSON.stringify needs a value");
	if (n > 1 && args[1]->type != NV_NULL)
		return nv_soft(sc, args[1]->at,
			       "JSON.stringify: the second argument must be null here");
	return nv_stringify(sc, args[0], args[2], at, ret);
}

static enum note nv_join_call(struct nv_scope *sc, struct nv *array, struct nv **ret)
{
	struct nv *separator = NULL;
	size_t n = 0;
	const char *at = sc->src.p;
	enum note r = nv_enter(sc);
	if (r)
		return r;
	r = nv_call_args(sc, &separator, 1, &n);
	sc->depth--;
	return r ? r : nv_join(sc, array, n ? separator : NULL, at, ret);
}

static bool nv_keyword(struct nv_scope *sc, struct slice word, const char *at, struct nv **ret)
{
	bool truth = slice_is(word, "true"), undefined = slice_is(word, "undefined");
	if (truth || slice_is(word, "false")) {
		*ret = nv_new(sc, NV_BOOL, at);
		(*ret)->b = truth;
	} else if (undefined || slice_is(word, "null")) {
		*ret = nv_new(sc, NV_NULL, at);
		(*ret)->undefined = undefined;
	} else {
		return false;
	}
	return true;
}

static bool nv_is_operator_word(struct slice word)
{
	static const char *const words[] = { "new",   "await", "function", "async", "typeof",
					     "class", "NaN",   "Infinity", "yield" };
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (slice_is(word, words[i]))
			return true;
	return false;
}

/* A dotted name up to, but without, a method that is called on it. */
static struct slice nv_dotted(struct src *s, struct slice first)
{
	struct slice name = first;
	while (src_peek(s) == '.' && char_is_ident(src_peek_at(s, 1)) &&
	       !char_is_digit(src_peek_at(s, 1))) {
		const char *dot = s->p;
		s->p++;
		struct slice part = src_ident(s);
		if (!part.p || src_peek(s) == '(') {
			s->p = dot;
			break;
		}
		name = slice_of(first.p, (size_t)(s->p - first.p));
	}
	return name;
}

static enum note nv_name(struct nv_scope *sc, struct nv **ret)
{
	struct src *s = &sc->src;
	const char *at = s->p;
	struct slice word = src_ident(s);
	if (!word.p)
		return nv_expression(sc, at);
	if (nv_keyword(sc, word, at, ret))
		return NOTE_OK;
	if (slice_is(word, "JSON") && src_starts(s, ".stringify(")) {
		s->p += strlen(".stringify");
		return nv_stringify_call(sc, at, ret);
	}
	if (nv_is_operator_word(word))
		return nv_expression(sc, at);
	struct slice name = nv_dotted(s, word);
	bool join = src_starts(s, ".join(");
	if (src_peek(s) == '(' || src_peek(s) == '[' || nv_at_string(s) ||
	    (src_peek(s) == '.' && !join))
		return src_ellipsis(s) ? nv_placeholder(sc, s->p) : nv_expression(sc, at);
	return nv_resolve(sc, name, at, false, ret);
}

/* ---- expressions ---- */

static enum note nv_odd_start(struct nv_scope *sc)
{
	struct src *s = &sc->src;
	char c = src_peek(s);
	if (src_starts(s, "\xe2\x80\x9c") || src_starts(s, "\xe2\x80\x9d") ||
	    src_starts(s, "\xe2\x80\x98") || src_starts(s, "\xe2\x80\x99"))
		return nv_error(sc, s->p, "a curly quote: strings are quoted with \" ' or `");
	if (src_ellipsis(s) || c == '<')
		return nv_placeholder(sc, s->p);
	if (c == 0 || c == ',' || c == ')' || c == ']' || c == '}' || c == ';' || c == ':' ||
	    c == '\n')
		return nv_error(sc, s->p, "a value is missing here");
	return nv_expression(sc, s->p);
}

static enum note nv_primary(struct nv_scope *sc, struct nv **ret)
{
	struct src *s = &sc->src;
	if (nv_at_string(s))
		return nv_parse_string(sc, ret);
	if (nv_at_number(s))
		return nv_number(sc, ret);
	switch (src_peek(s)) {
	case '[':
		return nv_array(sc, ret);
	case '{':
		return nv_object(sc, ret);
	case '(':
		return nv_paren(sc, ret);
	}
	return char_is_ident(src_peek(s)) && !src_starts(s, "\xe2") ? nv_name(sc, ret)
								    : nv_odd_start(sc);
}

/* Looks past blanks (inside brackets: past lines too) for an operator; the cursor stays where there
 * is none. */
static char nv_look_ahead(struct nv_scope *sc)
{
	const char *from = sc->src.p;
	if (sc->depth == 0)
		src_skip_blanks(&sc->src);
	else if (src_skip_space(&sc->src, NULL, NULL))
		sc->src.p = from;
	char c = src_peek(&sc->src), d = src_peek_at(&sc->src, 1);
	if ((c == '.' && char_is_ident(d)) || (c == '+' && d != '+' && d != '='))
		return c;
	sc->src.p = from;
	return 0;
}

static enum note nv_postfix(struct nv_scope *sc, struct nv **ret)
{
	enum note r = nv_primary(sc, ret);
	while (r == NOTE_OK) {
		const char *from = sc->src.p;
		if (nv_look_ahead(sc) != '.') {
			sc->src.p = from;
			break;
		}
		if (!src_starts(&sc->src, ".join("))
			return nv_expression(sc, sc->src.p);
		sc->src.p += strlen(".join");
		r = nv_join_call(sc, *ret, ret);
	}
	return r;
}

static enum note nv_sum(struct nv_scope *sc, struct nv_sum *sum)
{
	for (;;) {
		struct nv *operand;
		if (nv_look_ahead(sc) != '+')
			return NOTE_OK;
		const char *at = sc->src.p++;
		enum note r = nv_space(sc, NULL);
		if (r == NOTE_OK)
			r = nv_postfix(sc, &operand);
		if (r == NOTE_OK)
			r = nv_sum_add(sc, sum, operand, at);
		if (r)
			return r;
	}
}

enum note nv_parse(struct nv_scope *sc, struct nv **ret)
{
	struct nv_sum sum = { .v = NULL };
	enum note r = nv_postfix(sc, &sum.v);
	if (r == NOTE_OK)
		r = nv_sum(sc, &sum);
	if (r == NOTE_OK && sum.is_text)
		sum.v->s = arena_copy(sc->arena, buf_slice(&sum.text));
	buf_done(&sum.text);
	if (r == NOTE_OK)
		*ret = sum.v;
	return r;
}
