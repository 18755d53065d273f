#include "client/json.h"

#include <string.h>

#include "common/text.h"
#include "proto/errors.h"
#include "proto/limits.h"

struct json_place {
	unsigned line, col;
};

static struct json_place json_place(struct slice text, size_t at)
{
	struct json_place place = { 1, 1 };
	for (size_t i = 0; i < at; i++) {
		if (text.p[i] == '\n') {
			place.line++;
			place.col = 1;
		} else if (((unsigned char)text.p[i] & 0xc0) != 0x80) {
			place.col++;
		}
	}
	return place;
}

/* Of a string that begins behind `at`: the place of the quote that ends it, or the text's end. */
static size_t json_string_end(struct slice text, size_t at)
{
	const char *end = text.p + text.len, *from = text.p + at + 1, *quote = from;
	while (quote < end && (quote = memchr(quote, '"', (size_t)(end - quote)))) {
		const char *p = quote;
		while (p > from && p[-1] == '\\')
			p--;
		if ((quote - p) % 2 == 0)
			return (size_t)(quote - text.p);
		quote++;
	}
	return text.len;
}

/* Nesting is proved before jansson sees the text: it would recurse to its own, much larger, limit.
 */
static int json_check_depth(struct slice text, const char *name, struct err *e)
{
	unsigned depth = 0;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.p[i];
		if (c == '"') {
			i = json_string_end(text, i);
		} else if (c == ']' || c == '}') {
			depth -= depth > 0;
		} else if ((c == '[' || c == '{') && ++depth > LIMIT_DEPTH_IN) {
			struct json_place at = json_place(text, i);
			return err_set(e, E_LIMIT, "%s:%u:%u: nested more than %d deep", name,
				       at.line, at.col, LIMIT_DEPTH_IN);
		}
	}
	return 0;
}

static int json_check_ints(const json_t *v, struct err *e)
{
	const char *key;
	json_t *child;
	size_t i;
	if (json_is_integer(v)) {
		json_int_t n = json_integer_value(v);
		if (n > LIMIT_INT || n < -LIMIT_INT)
			return err_set(e, E_LIMIT,
				       "integers lie within +-2^53: %" JSON_INTEGER_FORMAT, n);
	} else if (json_is_object(v)) {
		json_object_foreach((json_t *)v, key,
				    child) if (json_check_ints(child, e)) return 1;
	} else if (json_is_array(v)) {
		json_array_foreach(v, i, child) if (json_check_ints(child, e)) return 1;
	}
	return 0;
}

int json_read(struct slice text, const char *name, json_t **ret, struct err *e)
{
	json_error_t je;
	if (text.len > LIMIT_FRAME_BYTES)
		return err_set(e, E_LIMIT, "%s: %zu bytes of JSON, the limit is %u", name, text.len,
			       LIMIT_FRAME_BYTES);
	if (json_check_depth(text, name, e))
		return 1;
	json_t *v = json_loadb(text.p, text.len,
			       JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
	if (!v)
		return err_set(e, E_PARAMS, "%s:%d:%d: %s", name, je.line, MAX2(je.column, 1),
			       je.text);
	if (json_check_ints(v, e)) {
		json_decref(v);
		return err_prefix(e, "%s: ", name);
	}
	*ret = v;
	return 0;
}

bool json_is_bin(const json_t *v)
{
	return json_is_object(v) && json_object_size(v) == 1 &&
	       json_is_string(json_object_get(v, "$bin"));
}

json_t *json_bytes(struct slice bytes)
{
	if (utf8_valid(bytes))
		return json_stringn_nocheck(bytes.p, bytes.len);
	struct buf b = BUF_INIT;
	base64_encode(bytes, &b);
	json_t *v = json_object();
	json_object_set_new_nocheck(v, "$bin", json_stringn_nocheck(b.p, b.len));
	buf_done(&b);
	return v;
}

static const char base64_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(struct slice bytes, struct buf *out)
{
	const unsigned char *p = (const unsigned char *)bytes.p;
	buf_reserve(out, bytes.len / 3 * 4 + 4);
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t left = bytes.len - i;
		unsigned v = (unsigned)p[i] << 16;
		v |= left > 1 ? (unsigned)p[i + 1] << 8 : 0;
		v |= left > 2 ? p[i + 2] : 0;
		char quad[4] = { base64_alphabet[v >> 18], base64_alphabet[v >> 12 & 63],
				 left > 1 ? base64_alphabet[v >> 6 & 63] : '=',
				 left > 2 ? base64_alphabet[v & 63] : '=' };
		buf_add(out, quad, sizeof(quad));
	}
}

static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool base64_decode(struct slice text, struct buf *out)
{
	size_t before = out->len, len = text.len;
	unsigned acc = 0, bits = 0;
	if (len % 4 == 0)
		for (int pad = 0; pad < 2 && len > 0 && text.p[len - 1] == '='; pad++)
			len--;
	bool good = len % 4 != 1;
	buf_reserve(out, len / 4 * 3 + 3);
	for (size_t i = 0; good && i < len; i++) {
		int digit = base64_digit(text.p[i]);
		if (digit < 0)
			good = false;
		acc = acc << 6 | ((unsigned)digit & 63);
		bits += 6;
		if (bits >= 8) {
			bits -= 8;
			buf_addc(out, (char)(acc >> bits));
			acc &= (1u << bits) - 1;
		}
	}
	/* Bits left over that are not 0 would be lost, and come back as another text. */
	good = good && acc == 0;
	if (!good)
		out->len = before;
	return good;
}
