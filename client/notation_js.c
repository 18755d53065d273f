/* The few expressions that are worked out: on literals alone, with the results JavaScript would
 * give. */
#include "client/notation_value.h"

#include <math.h>
#include <string.h>

#include "client/json.h"
#include "proto/limits.h"

/* ---- text ---- */

enum note nv_to_text(struct nv_scope *sc, const struct nv *v, const char *at, struct buf *out)
{
	switch (v->type) {
	case NV_STR:
		buf_addslice(out, v->s);
		return NOTE_OK;
	case NV_INT:
		buf_addf(out, "%lld", (long long)v->i);
		return NOTE_OK;
	case NV_REAL:
		json_print_js_number(v->d, out);
		return NOTE_OK;
	case NV_BOOL:
		buf_adds(out, v->b ? "true" : "false");
		return NOTE_OK;
	case NV_NULL:
		buf_adds(out, v->undefined ? "undefined" : "null");
		return NOTE_OK;
	case NV_UNBOUND:
		return NOTE_OK;
	case NV_BYTES:
	case NV_ARRAY:
	case NV_OBJECT:
	case NV_TYPE_MAX:
		break;
	}
	return nv_soft(sc, at, "%s cannot be part of a string%s", nv_type_name(v),
		       nv_is_bytes(v) ? "" : ": use JSON.stringify(...) or [...].join(...)");
}

static bool nv_is_number(const struct nv *v)
{
	return v->type == NV_INT || v->type == NV_REAL;
}

static double nv_double(const struct nv *v)
{
	return v->type == NV_INT ? (double)v->i : v->d;
}

static enum note nv_add_numbers(struct nv_scope *sc, struct nv *a, const struct nv *b,
				const char *at)
{
	if (a->type == NV_INT && b->type == NV_INT) {
		a->i += b->i;
		return a->i <= LIMIT_INT && a->i >= -LIMIT_INT
			       ? NOTE_OK
			       : nv_error(sc, at, "integers lie within +-2^53");
	}
	double d = nv_double(a) + nv_double(b);
	a->type = NV_REAL;
	a->d = d;
	return isfinite(d) ? NOTE_OK : nv_error(sc, at, "the sum is too large");
}

enum note nv_sum_add(struct nv_scope *sc, struct nv_sum *sum, const struct nv *b, const char *at)
{
	struct nv *a = sum->v;
	size_t before = sum->text.len;
	enum note r = NOTE_OK;
	if (a->type == NV_UNBOUND)
		return NOTE_OK;
	if (b->type == NV_UNBOUND) {
		sum->v = nv_new(sc, NV_UNBOUND, a->at);
		sum->is_text = false;
		return NOTE_OK;
	}
	if (!sum->is_text && nv_is_number(a) && nv_is_number(b))
		return nv_add_numbers(sc, a, b, at);
	if (a->type != NV_STR && b->type != NV_STR)
		return nv_soft(sc, at, "%s + %s is not worked out: one of them must be a string",
			       nv_type_name(a), nv_type_name(b));
	if (!sum->is_text) {
		r = nv_to_text(sc, a, at, &sum->text);
		sum->v = nv_new(sc, NV_STR, a->at);
		sum->is_text = true;
	}
	if (r == NOTE_OK)
		r = nv_to_text(sc, b, at, &sum->text);
	return r ? r : nv_spend(sc, at, sum->text.len - before);
}

static enum note nv_join_items(struct nv_scope *sc, const struct nv *array, struct slice separator,
			       const char *at, struct buf *out)
{
	for (const struct nv *item = array->first; item; item = item->next) {
		size_t before = out->len;
		if (item != array->first)
			buf_addslice(out, separator);
		enum note r = item->type == NV_NULL
				      ? NOTE_OK
				      : nv_to_text(sc, item, item->at ? item->at : at, out);
		if (r == NOTE_OK)
			r = nv_spend(sc, at, out->len - before);
		if (r)
			return r;
	}
	return NOTE_OK;
}

enum note nv_join(struct nv_scope *sc, const struct nv *array, const struct nv *separator,
		  const char *at, struct nv **ret)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct slice between = slice_of(",", 1);
	if (nv_has_unbound(array) || (separator && separator->type == NV_UNBOUND)) {
		*ret = nv_new(sc, NV_UNBOUND, at);
		return NOTE_OK;
	}
	if (array->type != NV_ARRAY)
		return nv_soft(sc, at, ".join() works on an array, this is %s",
			       nv_type_name(array));
	if (separator && separator->type != NV_STR)
		return nv_soft(sc, separator->at, ".join() takes a string, this is %s",
			       nv_type_name(separator));
	if (separator)
		between = separator->s;
	enum note r = nv_join_items(sc, array, between, at, &text);
	if (r)
		return r;
	struct nv *v = nv_new(sc, NV_STR, array->at);
	v->s = arena_copy(sc->arena, buf_slice(&text));
	*ret = v;
	return NOTE_OK;
}

/* ---- JSON.stringify ---- */

struct nv_stringifier {
	struct nv_scope *sc;
	struct buf out;
	char indent[11];
	unsigned depth;
	const char *at;
};

static enum note nv_stringify_value(struct nv_stringifier *st, const struct nv *v);

static void nv_stringify_newline(struct nv_stringifier *st)
{
	if (!st->indent[0])
		return;
	buf_addc(&st->out, '\n');
	for (unsigned i = 0; i < st->depth; i++)
		buf_adds(&st->out, st->indent);
}

static void nv_stringify_key(struct nv_stringifier *st, struct slice key)
{
	json_print_bytes(key, &st->out);
	buf_adds(&st->out, st->indent[0] ? ": " : ":");
}

static enum note nv_stringify_children(struct nv_stringifier *st, const struct nv *v)
{
	bool object = v->type == NV_OBJECT, some = false;
	if (st->depth >= LIMIT_DEPTH_IN)
		return nv_error(st->sc, st->at, "nested more than %d deep", LIMIT_DEPTH_IN);
	buf_addc(&st->out, object ? '{' : '[');
	st->depth++;
	for (const struct nv *child = v->first; child; child = child->next) {
		/* JavaScript leaves out members that are undefined. */
		if (object && child->type == NV_NULL && child->undefined)
			continue;
		if (some)
			buf_addc(&st->out, ',');
		some = true;
		nv_stringify_newline(st);
		if (object)
			nv_stringify_key(st, child->key);
		enum note r = nv_stringify_value(st, child);
		if (r == NOTE_OK && st->out.len > st->sc->budget)
			r = nv_spend(st->sc, st->at, st->out.len);
		if (r)
			return r;
	}
	st->depth--;
	if (some)
		nv_stringify_newline(st);
	buf_addc(&st->out, object ? '}' : ']');
	return NOTE_OK;
}

static enum note nv_stringify_scalar(struct nv_stringifier *st, const struct nv *v)
{
	if (v->type == NV_STR)
		json_print_bytes(v->s, &st->out);
	else if (v->type == NV_BYTES)
		return nv_soft(st->sc, st->at,
			       "JSON.stringify cannot hold bytes that are not UTF-8");
	else if (v->type == NV_NULL)
		buf_adds(&st->out, "null");
	else
		return nv_to_text(st->sc, v, st->at, &st->out);
	return NOTE_OK;
}

static enum note nv_stringify_value(struct nv_stringifier *st, const struct nv *v)
{
	bool container = v->type == NV_OBJECT || v->type == NV_ARRAY;
	return container ? nv_stringify_children(st, v) : nv_stringify_scalar(st, v);
}

static enum note nv_stringify_indent(struct nv_stringifier *st, const struct nv *indent)
{
	if (!indent || indent->type == NV_NULL)
		return NOTE_OK;
	if (indent->type == NV_STR) {
		size_t len = MIN2(indent->s.len, sizeof(st->indent) - 1);
		memcpy(st->indent, indent->s.p, len);
		return NOTE_OK;
	}
	if (indent->type != NV_INT)
		return nv_soft(st->sc, indent->at,
			       "JSON.stringify: the third argument is a number or a string");
	if (indent->i > 0)
		memset(st->indent, ' ', (size_t)MIN2(indent->i, 10));
	return NOTE_OK;
}

enum note nv_stringify(struct nv_scope *sc, const struct nv *v, const struct nv *indent,
		       const char *at, struct nv **ret)
{
	struct nv_stringifier st = { .sc = sc, .at = at };
	enum note r = NOTE_OK;
	struct nv *text = nv_new(sc, NV_UNBOUND, at);
	if (!nv_has_unbound(v) && !(indent && indent->type == NV_UNBOUND)) {
		r = nv_stringify_indent(&st, indent);
		if (r == NOTE_OK)
			r = nv_stringify_value(&st, v);
		if (r == NOTE_OK)
			r = nv_spend(sc, at, st.out.len);
		text->type = NV_STR;
		text->s = arena_copy(sc->arena, buf_slice(&st.out));
	}
	buf_done(&st.out);
	*ret = text;
	return r;
}
