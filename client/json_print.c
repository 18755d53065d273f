/* JSON text out of json_t and out of MessagePack: one printer of tokens, two walkers. */
#include "client/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "proto/mp.h"

struct json_out {
	struct buf *b;
	enum json_style style;
	unsigned depth;
};

static void json_newline(struct json_out *o)
{
	if (o->style != JSON_PRETTY)
		return;
	buf_addc(o->b, '\n');
	for (unsigned i = 0; i < o->depth; i++)
		buf_adds(o->b, "  ");
}

static void json_open(struct json_out *o, char c)
{
	buf_addc(o->b, c);
	o->depth++;
}

/* Before element i. */
static void json_element(struct json_out *o, size_t i)
{
	if (i > 0)
		buf_adds(o->b, o->style == JSON_PRETTY ? "," : ", ");
	json_newline(o);
}

static void json_close(struct json_out *o, char c, size_t count)
{
	o->depth--;
	if (count > 0)
		json_newline(o);
	buf_addc(o->b, c);
}

static void json_print_escaped(char c, struct buf *out)
{
	static const char letters[] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f',
					['\r'] = 'r', ['"'] = '"',  ['\\'] = '\\' };
	unsigned char u = (unsigned char)c;
	char letter = u < sizeof(letters) ? letters[u] : 0;
	if (letter)
		buf_add(out, (char[2]){ '\\', letter }, 2);
	else
		buf_addf(out, "\\u%04x", u);
}

static bool json_must_escape(char c)
{
	return (unsigned char)c < 0x20 || c == '"' || c == '\\';
}

static void json_print_str(struct slice s, struct buf *out)
{
	size_t from = 0;
	buf_addc(out, '"');
	for (size_t i = 0; i < s.len; i++) {
		if (!json_must_escape(s.p[i]))
			continue;
		buf_add(out, s.p + from, i - from);
		json_print_escaped(s.p[i], out);
		from = i + 1;
	}
	buf_add(out, s.p + from, s.len - from);
	buf_addc(out, '"');
}

void json_print_bytes(struct slice bytes, struct buf *out)
{
	if (utf8_valid(bytes)) {
		json_print_str(bytes, out);
		return;
	}
	buf_adds(out, "{\"$bin\": \"");
	base64_encode(bytes, out);
	buf_adds(out, "\"}");
}

/* Keys we were sent should be UTF-8; one that is not is shown with U+FFFD rather than lost. */
static void json_print_key(struct slice key, struct buf *out)
{
	if (utf8_valid(key)) {
		json_print_str(key, out);
	} else {
		struct buf b = BUF_INIT;
		for (size_t i = 0, n; i < key.len; i += n ? n : 1) {
			n = utf8_len(slice_of(key.p + i, key.len - i));
			buf_add(&b, n ? key.p + i : "\xef\xbf\xbd", n ? n : 3);
		}
		json_print_str(buf_slice(&b), out);
		buf_done(&b);
	}
	buf_adds(out, ": ");
}

static void json_shortest(double v, char ret_digits[32], int *ret_exp)
{
	char text[40];
	int precision = 0;
	do
		snprintf(text, sizeof(text), "%.*e", precision, v);
	while (strtod(text, NULL) != v && ++precision < 17);
	char *mark = strchr(text, 'e');
	size_t n = 0;
	for (const char *p = text; p < mark; p++)
		if (*p >= '0' && *p <= '9')
			ret_digits[n++] = *p;
	while (n > 1 && ret_digits[n - 1] == '0')
		n--;
	ret_digits[n] = '\0';
	*ret_exp = atoi(mark + 1) + 1;
}

/* ECMA-262 Number::toString: plain decimal from 1e-6 up to 1e21, else an exponent. */
void json_print_js_number(double v, struct buf *out)
{
	char digits[32];
	int exp;
	if (v == 0) {
		buf_addc(out, '0');
		return;
	}
	if (v < 0)
		buf_addc(out, '-');
	json_shortest(fabs(v), digits, &exp);
	int n = (int)strlen(digits);
	if (exp > 21 || exp <= -6)
		buf_addf(out, "%c%s%se%+d", digits[0], n > 1 ? "." : "", digits + 1, exp - 1);
	else if (exp <= 0)
		buf_addf(out, "0.%.*s%s", -exp, "000000", digits);
	else if (exp < n)
		buf_addf(out, "%.*s.%s", exp, digits, digits + exp);
	else
		buf_addf(out, "%s%.*s", digits, exp - n, "000000000000000000000");
}

void json_print_real(double v, struct buf *out)
{
	size_t from = out->len;
	if (!isfinite(v)) {
		buf_adds(out, "null");
		return;
	}
	if (v == 0 && signbit(v))
		buf_addc(out, '-');
	json_print_js_number(v, out);
	if (!strpbrk(buf_str(out) + from, ".e"))
		buf_adds(out, ".0");
}

static void json_walk(const json_t *v, struct json_out *o);

static void json_walk_object(const json_t *v, struct json_out *o)
{
	const char *key;
	size_t len, i = 0;
	json_t *child;
	json_open(o, '{');
	json_object_keylen_foreach((json_t *)v, key, len, child)
	{
		json_element(o, i++);
		json_print_key(slice_of(key, len), o->b);
		json_walk(child, o);
	}
	json_close(o, '}', i);
}

static void json_walk_array(const json_t *v, struct json_out *o)
{
	size_t i;
	json_t *child;
	json_open(o, '[');
	json_array_foreach(v, i, child)
	{
		json_element(o, i);
		json_walk(child, o);
	}
	json_close(o, ']', json_array_size(v));
}

static void json_walk(const json_t *v, struct json_out *o)
{
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		json_walk_object(v, o);
		break;
	case JSON_ARRAY:
		json_walk_array(v, o);
		break;
	case JSON_STRING:
		json_print_str(slice_of(json_string_value(v), json_string_length(v)), o->b);
		break;
	case JSON_INTEGER:
		buf_addf(o->b, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		break;
	case JSON_REAL:
		json_print_real(json_real_value(v), o->b);
		break;
	case JSON_TRUE:
		buf_adds(o->b, "true");
		break;
	case JSON_FALSE:
		buf_adds(o->b, "false");
		break;
	case JSON_NULL:
		buf_adds(o->b, "null");
		break;
	}
}

void json_print(const json_t *v, enum json_style style, struct buf *out)
{
	struct json_out o = { .b = out, .style = style };
	json_walk(v, &o);
}

static void json_walk_mp(struct mp *m, struct json_out *o);

static void json_walk_mp_array(struct mp *m, uint32_t count, struct json_out *o)
{
	json_open(o, '[');
	for (uint32_t i = 0; i < count; i++) {
		json_element(o, i);
		json_walk_mp(m, o);
	}
	json_close(o, ']', count);
}

static void json_walk_mp_map(struct mp *m, uint32_t count, struct json_out *o)
{
	json_open(o, '{');
	for (uint32_t i = 0; i < count; i++) {
		json_element(o, i);
		struct mp_value key = mp_next(m);
		bool named = key.type == MP_STR || key.type == MP_BIN;
		json_print_key(named ? key.bytes : slice_of("", 0), o->b);
		json_walk_mp(m, o);
	}
	json_close(o, '}', count);
}

static void json_walk_mp(struct mp *m, struct json_out *o)
{
	struct mp_value v = mp_next(m);
	switch (v.type) {
	case MP_BOOL:
		buf_adds(o->b, v.b ? "true" : "false");
		break;
	case MP_INT:
		buf_addf(o->b, "%lld", (long long)v.i);
		break;
	case MP_UINT64:
		buf_addf(o->b, "%llu", (unsigned long long)v.u);
		break;
	case MP_FLOAT:
		json_print_real(v.f, o->b);
		break;
	case MP_STR:
	case MP_BIN:
		json_print_bytes(v.bytes, o->b);
		break;
	case MP_ARRAY:
		json_walk_mp_array(m, v.count, o);
		break;
	case MP_MAP:
		json_walk_mp_map(m, v.count, o);
		break;
	case MP_NIL:
	case MP_EXT:
	case MP_BAD:
		buf_adds(o->b, "null");
		break;
	}
}

void json_print_mp(struct slice one, enum json_style style, struct buf *out)
{
	struct mp m = mp_of(one);
	struct json_out o = { .b = out, .style = style };
	json_walk_mp(&m, &o);
}
