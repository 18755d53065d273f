#include "client/json_text.h"

#include <stdint.h>
#include <string.h>

#include "client/json.h"
#include "common/text.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define TEXT_KEYS 256 /* in all the maps that are open at once */

/* Where a value stands: null means absent in a batch, its messages and their ops. */
enum level { LEVEL_OTHER, LEVEL_BATCH, LEVEL_MESSAGES, LEVEL_MESSAGE, LEVEL_OPS, LEVEL_OP };

struct text {
	const char *p, *end;
	struct pk *pk;
	unsigned depth, n_keys;
	bool has_messages;
	struct slice keys[TEXT_KEYS]; /* as they stand in the text */
};

static bool text_value(struct text *t, enum level level);

static void text_blanks(struct text *t)
{
	while (t->p < t->end && (*t->p == ' ' || *t->p == '\n' || *t->p == '\t' || *t->p == '\r'))
		t->p++;
}

/* Steps over c and the blanks before it. */
static bool text_take(struct text *t, char c)
{
	text_blanks(t);
	if (t->p == t->end || *t->p != c)
		return false;
	t->p++;
	return true;
}

/* ---- strings ---- */

/* The four digits of the \u at p; -1 where that is something else. */
static int32_t text_unit(const char *p, const char *end)
{
	int32_t v = 0;
	if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		char c = p[i], low = (char)(c | 0x20);
		if (c >= '0' && c <= '9')
			v = v << 4 | (c - '0');
		else if (low >= 'a' && low <= 'f')
			v = v << 4 | (low - 'a' + 10);
		else
			return -1;
	}
	return v;
}

static size_t text_utf8(int32_t v, char out[4])
{
	size_t n = v < 0x80 ? 1 : v < 0x800 ? 2 : v < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
	for (size_t i = n; i-- > 1; v >>= 6)
		out[i] = (char)(0x80 | (v & 0x3f));
	out[0] = (char)(lead[n] | v);
	return n;
}

/* \uXXXX, or two of them that make one character. The bytes it becomes; 0: none. */
static size_t text_unicode(const char *p, const char *end, char out[4], size_t *ret_used)
{
	int32_t v = text_unit(p, end), low;
	*ret_used = 6;
	if (v < 0 || (v >= 0xdc00 && v <= 0xdfff))
		return 0;
	if (v < 0xd800 || v > 0xdbff)
		return text_utf8(v, out);
	low = text_unit(p + 6, end);
	*ret_used = 12;
	if (low < 0xdc00 || low > 0xdfff)
		return 0;
	return text_utf8(0x10000 + ((v - 0xd800) << 10) + (low - 0xdc00), out);
}

/* The escape at p. */
static size_t text_escape(const char *p, const char *end, char out[4], size_t *ret_used)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	*ret_used = 2;
	if (end - p < 2)
		return 0;
	if (p[1] == 'u')
		return text_unicode(p, end, out, ret_used);
	const char *found = p[1] ? strchr(from, p[1]) : NULL;
	if (!found)
		return 0;
	out[0] = to[found - from];
	return 1;
}

/* The bytes at p that stand for themselves, as far as whole words of them go: most of most strings.
 */
static size_t text_plain(const char *p, const char *end)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), tops = ones << 7;
	const char *from = p;
	for (; end - p >= 8; p += 8) {
		uint64_t v, quote, slash;
		memcpy(&v, p, sizeof(v));
		quote = v ^ ones * '"';
		slash = v ^ ones * '\\';
		/* Less than 0x20, or zero; a borrow only comes from a byte that is found itself. */
		if ((v | (v - ones * 0x20) | (quote - ones) | (slash - ones)) & tops)
			break;
	}
	return (size_t)(p - from);
}

/* Steps over the string whose quote is next: what stands between the quotes, and how many bytes
 * that makes. */
static bool text_string(struct text *t, struct slice *ret_raw, size_t *ret_len)
{
	char out[4];
	if (!text_take(t, '"'))
		return false;
	const char *from = t->p, *p = from;
	size_t less = 0, used, n;
	for (;;) {
		p += text_plain(p, t->end);
		if (p == t->end || *p == '"')
			break;
		unsigned char c = (unsigned char)*p;
		if (c == '\\') {
			if ((n = text_escape(p, t->end, out, &used)) == 0)
				return false;
			less += used - n;
		} else if (c >= 0x20 && c < 0x80) {
			used = 1;
		} else if (c < 0x20 || (used = utf8_len(slice_of(p, (size_t)(t->end - p)))) == 0) {
			return false;
		}
		p += used;
	}
	if (p == t->end)
		return false;
	*ret_raw = slice_of(from, (size_t)(p - from));
	*ret_len = ret_raw->len - less;
	t->p = p + 1;
	return true;
}

/* The proved string into `to`. */
static void text_unescape(struct slice raw, char *to)
{
	const char *p = raw.p, *end = raw.p + raw.len;
	while (p < end) {
		const char *escape = memchr(p, '\\', (size_t)(end - p));
		size_t used, run = (size_t)((escape ? escape : end) - p);
		char out[4];
		memcpy(to, p, run);
		to += run;
		p += run;
		if (!escape)
			break;
		size_t n = text_escape(p, end, out, &used);
		memcpy(to, out, n);
		to += n;
		p += used;
	}
}

static bool text_str(struct text *t)
{
	struct slice raw;
	size_t len;
	if (!text_string(t, &raw, &len))
		return false;
	text_unescape(raw, pk_str_room(t->pk, len));
	return true;
}

/* ---- numbers and words ---- */

/* An integer; what follows one of another kind of number is refused as what follows a value. */
static bool text_int(struct text *t)
{
	bool minus = *t->p == '-';
	const char *from = t->p + minus, *p = from;
	int64_t v = 0;
	while (p < t->end && p - from < 17 && *p >= '0' && *p <= '9')
		v = v * 10 + (*p++ - '0');
	if (p == from || (*from == '0' && p - from > 1) || v > LIMIT_INT)
		return false;
	t->p = p;
	pk_int(t->pk, minus ? -v : v);
	return true;
}

static bool text_word(struct text *t, const char *word)
{
	size_t len = strlen(word);
	if ((size_t)(t->end - t->p) < len || memcmp(t->p, word, len) != 0)
		return false;
	t->p += len;
	return true;
}

static bool text_scalar(struct text *t, enum level in)
{
	if (text_word(t, "true"))
		pk_bool(t->pk, true);
	else if (text_word(t, "false"))
		pk_bool(t->pk, false);
	else if (!text_word(t, "null"))
		return text_int(t);
	else if (in == LEVEL_OTHER)
		pk_nil(t->pk);
	else
		pk_unkey(t->pk);
	return true;
}

/* ---- maps and arrays ---- */

/* {"$bin": base64}, at what follows the brace. */
static bool text_bin(struct text *t)
{
	_cleanup_buf_ struct buf bytes = BUF_INIT;
	struct slice raw;
	size_t len;
	bool good = text_take(t, ':') && text_string(t, &raw, &len) && text_take(t, '}') &&
		    base64_decode(raw, &bytes);
	if (good)
		pk_bin(t->pk, buf_slice(&bytes));
	return good;
}

static enum level level_of_key(enum level in, struct slice key)
{
	if (in == LEVEL_BATCH && slice_is(key, "messages"))
		return LEVEL_MESSAGES;
	return in == LEVEL_MESSAGE && slice_is(key, "ops") ? LEVEL_OPS : LEVEL_OTHER;
}

/* A key, proved not to be among those of its map, which begin at `first`. */
static bool text_key(struct text *t, unsigned first, struct slice *ret)
{
	size_t len;
	if (!text_string(t, ret, &len) || len != ret->len || slice_is(*ret, "$bin") ||
	    t->n_keys == TEXT_KEYS)
		return false;
	for (unsigned i = first; i < t->n_keys; i++)
		if (slice_eq(t->keys[i], *ret))
			return false;
	t->keys[t->n_keys++] = *ret;
	return true;
}

static bool text_member(struct text *t, unsigned first, enum level level)
{
	struct slice key;
	if (!text_key(t, first, &key) || (level == LEVEL_OP && slice_is(key, "todos")) ||
	    !text_take(t, ':'))
		return false;
	pk_keyslice(t->pk, key);
	text_blanks(t);
	if (t->p < t->end && *t->p == 'n')
		return text_scalar(t, level);
	t->has_messages = t->has_messages || (level == LEVEL_BATCH && slice_is(key, "messages"));
	return text_value(t, level_of_key(level, key));
}

/* Behind the brace. */
static bool text_members(struct text *t, enum level level)
{
	unsigned first = t->n_keys;
	if (!text_take(t, '}')) {
		do {
			text_blanks(t);
			if (!text_member(t, first, level))
				return false;
		} while (text_take(t, ','));
		if (!text_take(t, '}'))
			return false;
	}
	t->n_keys = first;
	return true;
}

static bool text_object(struct text *t, enum level level)
{
	text_blanks(t);
	if (text_word(t, "\"$bin\""))
		return text_bin(t);
	pk_map(t->pk);
	if (!text_members(t, level == LEVEL_MESSAGE || level == LEVEL_OP ? level : LEVEL_OTHER))
		return false;
	pk_end(t->pk);
	return true;
}

static bool text_array(struct text *t, enum level level)
{
	enum level within = level == LEVEL_MESSAGES ? LEVEL_MESSAGE
			    : level == LEVEL_OPS    ? LEVEL_OP
						    : LEVEL_OTHER;
	pk_array(t->pk);
	if (!text_take(t, ']')) {
		do {
			if (!text_value(t, within))
				return false;
		} while (text_take(t, ','));
		if (!text_take(t, ']'))
			return false;
	}
	pk_end(t->pk);
	return true;
}

static bool text_value(struct text *t, enum level level)
{
	text_blanks(t);
	if (t->p == t->end)
		return false;
	if (*t->p == '"')
		return text_str(t);
	if (*t->p != '{' && *t->p != '[')
		return text_scalar(t, LEVEL_OTHER);
	if (t->depth == LIMIT_DEPTH_IN)
		return false;
	t->depth++;
	bool map = *t->p++ == '{';
	bool good = map ? text_object(t, level) : text_array(t, level);
	t->depth--;
	return good;
}

/* ---- whole texts ---- */

static bool text_ended(struct text *t)
{
	text_blanks(t);
	return t->p == t->end;
}

bool json_text_value(struct slice text, struct pk *pk)
{
	struct text t = { .p = text.p, .end = text.p + text.len, .pk = pk };
	struct pk_mark before = pk_mark(pk);
	bool good = text.len <= LIMIT_FRAME_BYTES && text_value(&t, LEVEL_OTHER) && text_ended(&t);
	if (!good)
		pk_back(pk, &before);
	return good;
}

bool json_text_batch(struct slice text, struct pk *pk)
{
	struct text t = { .p = text.p, .end = text.p + text.len, .pk = pk, .depth = 1 };
	struct pk_mark before = pk_mark(pk);
	/* About as long as its text: not to be moved while it grows. */
	buf_reserve(pk->b, text.len <= LIMIT_FRAME_BYTES ? text.len : 0);
	bool good = text.len <= LIMIT_FRAME_BYTES && text_take(&t, '{') &&
		    text_members(&t, LEVEL_BATCH) && text_ended(&t) && t.has_messages;
	if (!good)
		pk_back(pk, &before);
	return good;
}
