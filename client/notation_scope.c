/* What values are made of and what names stand for. */
#include "client/notation_value.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/json.h"
#include "common/fd.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/limits.h"

/* What one node may cost: with it, a bomb of references ends before it hurts, and 8 MiB of "0,0,0"
 * fit. */
#define NV_NODE_COST 12
#define ARENA_CHUNK ((size_t)64 << 10)

struct arena_chunk {
	struct arena_chunk *next;
	size_t room;
	max_align_t data[];
};

void *arena_alloc(struct arena *a, size_t size)
{
	size = (size + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
	if (size > a->left) {
		size_t room = MAX2(size, ARENA_CHUNK);
		struct arena_chunk *chunk = xmalloc(sizeof(*chunk) + room);
		chunk->next = a->chunks;
		chunk->room = room;
		a->chunks = chunk;
		a->at = (char *)chunk->data;
		a->left = room;
	}
	void *p = a->at;
	a->at += size;
	a->left -= size;
	memset(p, 0, size);
	return p;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
	char *p = arena_alloc(a, s.len + 1);
	if (s.len)
		memcpy(p, s.p, s.len);
	return slice_of(p, s.len);
}

static void arena_free_after(struct arena_chunk *first)
{
	while (first) {
		struct arena_chunk *next = first->next;
		free(first);
		first = next;
	}
}

void arena_reset(struct arena *a)
{
	struct arena_chunk *kept = a->chunks;
	if (!kept)
		return;
	arena_free_after(kept->next);
	kept->next = NULL;
	a->at = (char *)kept->data;
	a->left = kept->room;
}

void arena_done(struct arena *a)
{
	arena_free_after(a->chunks);
	*a = (struct arena){ .chunks = NULL };
}

void nv_scope_init(struct nv_scope *sc, const char *name, struct slice text,
		   const struct notation_options *options, struct err *e)
{
	*sc = (struct nv_scope){ .options = options,
				 .names = json_object(),
				 .unbound_names = json_object() };
	src_init(&sc->src, name, text);
	sc->arena = &sc->passing;
	sc->budget = LIMIT_FRAME_BYTES;
	sc->e = e;
}

void nv_scope_done(struct nv_scope *sc)
{
	nv_forget_unbound(sc, 0);
	free(sc->unbound);
	free(sc->bound);
	json_decref(sc->names);
	json_decref(sc->unbound_names);
	arena_done(&sc->kept);
	arena_done(&sc->passing);
	buf_done(&sc->text);
}

/* Room for one more than n, doubling. */
static void *nv_grow(void *p, size_t n, size_t size)
{
	return n & (n - 1) ? p : xrealloc(p, n ? 2 * n : 1, size);
}

static void nv_bind_at(struct nv_scope *sc, struct slice name, struct nv *v)
{
	sc->bound = nv_grow(sc->bound, sc->n_bound, sizeof(struct nv *));
	json_object_setn_new_nocheck(sc->names, name.p, name.len,
				     json_integer((json_int_t)sc->n_bound));
	sc->bound[sc->n_bound++] = v;
}

void nv_bind(struct nv_scope *sc, struct slice name, const struct nv *v)
{
	const json_t *old = json_object_getn(sc->names, name.p, name.len);
	if (old && (size_t)json_integer_value(old) < sc->n_defines)
		return;
	struct nv *kept = arena_alloc(&sc->kept, sizeof(*kept));
	*kept = *v;
	nv_bind_at(sc, name, kept);
}

static int nv_define_one(struct nv_scope *sc, const char *define)
{
	_cleanup_buf_ struct buf file = BUF_INIT;
	const char *equals = strchr(define, '=');
	struct slice name = slice_of(define, equals ? (size_t)(equals - define) : 0);
	if (name.len == 0 || !utf8_valid(name))
		return err_set(sc->e, 0, "--define '%s': write NAME=TEXT or NAME=@FILE", define);
	struct slice text = slice_str(equals + 1);
	if (text.p[0] == '@') {
		int r = fd_read_file(text.p + 1, LIMIT_FRAME_BYTES, &file);
		if (r < 0)
			return err_set(sc->e, 0, "--define %.*s: cannot read '%s': %s",
				       SLICE_FMT(name), text.p + 1, strerror(-r));
		text = buf_slice(&file);
	}
	struct nv *v = arena_alloc(&sc->kept, sizeof(*v));
	v->type = utf8_valid(text) ? NV_STR : NV_BYTES;
	v->s = arena_copy(&sc->kept, text);
	nv_bind_at(sc, name, v);
	return 0;
}

int nv_scope_define(struct nv_scope *sc)
{
	for (size_t i = 0; i < sc->options->n_defines; i++)
		if (nv_define_one(sc, sc->options->defines[i]))
			return 1;
	sc->n_defines = sc->n_bound;
	return 0;
}

static const struct nv *nv_lookup(struct nv_scope *sc, struct slice name)
{
	const json_t *index = json_object_getn(sc->names, name.p, name.len);
	return index ? sc->bound[json_integer_value(index)] : NULL;
}

static const struct nv *nv_member(const struct nv *v, struct slice key)
{
	if (!v || v->type != NV_OBJECT)
		return NULL;
	for (const struct nv *m = v->first; m; m = m->next)
		if (slice_eq(m->key, key))
			return m;
	return NULL;
}

const struct nv *nv_find(struct nv_scope *sc, struct slice name)
{
	const struct nv *v = nv_lookup(sc, name);
	const char *dot = memchr(name.p, '.', name.len);
	if (v || !dot)
		return v;
	v = nv_lookup(sc, slice_of(name.p, (size_t)(dot - name.p)));
	while (v && v->type != NV_UNBOUND && dot) {
		const char *from = dot + 1, *end = name.p + name.len;
		dot = memchr(from, '.', (size_t)(end - from));
		v = nv_member(v, slice_of(from, (size_t)((dot ? dot : end) - from)));
	}
	return v;
}

static void nv_note_unbound(struct nv_scope *sc, struct slice name, const char *at,
			    const char *const_at, bool template)
{
	if (json_object_getn(sc->unbound_names, name.p, name.len))
		return;
	json_object_setn_new_nocheck(sc->unbound_names, name.p, name.len, json_true());
	sc->unbound = nv_grow(sc->unbound, sc->n_unbound, sizeof(*sc->unbound));
	sc->unbound[sc->n_unbound++] = (struct nv_unbound){
		.name = xslicedup(name), .at = at, .const_at = const_at, .template = template
	};
}

void nv_forget_unbound(struct nv_scope *sc, size_t n)
{
	while (sc->n_unbound > n) {
		struct nv_unbound *u = &sc->unbound[--sc->n_unbound];
		json_object_del(sc->unbound_names, u->name);
		free((char *)u->name);
	}
}

enum note nv_resolve(struct nv_scope *sc, struct slice name, const char *at, bool template,
		     struct nv **ret)
{
	const struct nv *v = nv_find(sc, name);
	if (v && v->type != NV_UNBOUND) {
		*ret = nv_copy(sc, v, at);
		return NOTE_OK;
	}
	/* What a const lacks was noted where it stands. */
	if (!v || v->no_value)
		nv_note_unbound(sc, name, at, v ? v->at : NULL, template);
	*ret = nv_new(sc, NV_UNBOUND, at);
	return NOTE_OK;
}

static enum note nv_verror(struct nv_scope *sc, const char *at, const char *fmt, va_list ap)
{
	char text[sizeof(sc->e->text)];
	vsnprintf(text, sizeof(text), fmt, ap);
	src_error(&sc->src, at, sc->e, "%s", text);
	return NOTE_ERROR;
}

enum note nv_error(struct nv_scope *sc, const char *at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	nv_verror(sc, at, fmt, ap);
	va_end(ap);
	return NOTE_ERROR;
}

enum note nv_soft(struct nv_scope *sc, const char *at, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	nv_verror(sc, at, fmt, ap);
	va_end(ap);
	return NOTE_SOFT;
}

enum note nv_spend(struct nv_scope *sc, const char *at, size_t bytes)
{
	if (bytes > sc->budget)
		return nv_error(sc, at,
				"with its names filled in the batch is larger than %u bytes",
				LIMIT_FRAME_BYTES);
	sc->budget -= bytes;
	return NOTE_OK;
}

enum note nv_space(struct nv_scope *sc, bool *ret_comment)
{
	return src_skip_space(&sc->src, ret_comment, sc->e) ? NOTE_ERROR : NOTE_OK;
}

struct nv *nv_new(struct nv_scope *sc, enum nv_type type, const char *at)
{
	struct nv *v = arena_alloc(sc->arena, sizeof(*v));
	v->type = type;
	v->at = at;
	return v;
}

struct nv *nv_copy(struct nv_scope *sc, const struct nv *v, const char *at)
{
	struct nv *copy = nv_new(sc, v->type, at);
	*copy = *v;
	copy->at = at;
	copy->next = NULL;
	copy->key = SLICE_NONE;
	return copy;
}

void nv_add(struct nv *container, struct nv *child)
{
	if (container->last)
		container->last->next = child;
	else
		container->first = child;
	container->last = child;
	container->count++;
	container->holds_unbound |= nv_has_unbound(child);
}

struct nv *nv_get(const struct nv *object, const char *key)
{
	return (struct nv *)nv_member(object, slice_str(key));
}

bool nv_is_bytes(const struct nv *v)
{
	if (v->type == NV_BYTES)
		return true;
	return v->type == NV_OBJECT && v->count == 1 && slice_is(v->first->key, "$bin") &&
	       v->first->type == NV_STR;
}

bool nv_is_text(const struct nv *v)
{
	return v->type == NV_STR || nv_is_bytes(v);
}

bool nv_has_unbound(const struct nv *v)
{
	return v->type == NV_UNBOUND || v->holds_unbound;
}

const char *nv_type_name(const struct nv *v)
{
	static const char *const names[] = {
		[NV_NULL] = "null",
		[NV_BOOL] = "a boolean",
		[NV_INT] = "a number",
		[NV_REAL] = "a number",
		[NV_STR] = "a string",
		[NV_BYTES] = "bytes",
		[NV_ARRAY] = "an array",
		[NV_OBJECT] = "an object",
		[NV_UNBOUND] = "an unbound name",
	};
	static_assert(ARRAY_SIZE(names) == NV_TYPE_MAX, "a name for each type");
	return nv_is_bytes(v) ? "bytes" : names[v->type];
}

static enum note nv_children_to_json(struct nv_scope *sc, const struct nv *v, json_t *container)
{
	for (const struct nv *child = v->first; child; child = child->next) {
		json_t *one;
		enum note r = nv_to_json(sc, child, &one);
		if (r)
			return r;
		if (v->type == NV_ARRAY) {
			json_array_append_new(container, one);
			continue;
		}
		if (nv_spend(sc, child->at, child->key.len)) {
			json_decref(one);
			return NOTE_ERROR;
		}
		json_object_setn_new_nocheck(container, child->key.p, child->key.len, one);
	}
	return NOTE_OK;
}

static enum note nv_container_to_json(struct nv_scope *sc, const struct nv *v, json_t **ret)
{
	_cleanup_json_ json_t *container = v->type == NV_ARRAY ? json_array() : json_object();
	if (sc->depth >= LIMIT_DEPTH_IN)
		return nv_error(sc, v->at, "nested more than %d deep", LIMIT_DEPTH_IN);
	sc->depth++;
	enum note r = nv_children_to_json(sc, v, container);
	sc->depth--;
	if (r == NOTE_OK)
		*ret = TAKE_PTR(container);
	return r;
}

enum note nv_to_json(struct nv_scope *sc, const struct nv *v, json_t **ret)
{
	bool text = v->type == NV_STR || v->type == NV_BYTES;
	if (nv_spend(sc, v->at, NV_NODE_COST + (text ? v->s.len : 0)))
		return NOTE_ERROR;
	switch (v->type) {
	case NV_ARRAY:
	case NV_OBJECT:
		return nv_container_to_json(sc, v, ret);
	case NV_BOOL:
		*ret = json_boolean(v->b);
		return NOTE_OK;
	case NV_INT:
		*ret = json_integer(v->i);
		return NOTE_OK;
	case NV_REAL:
		*ret = json_real(v->d);
		return NOTE_OK;
	case NV_STR:
		*ret = json_stringn_nocheck(v->s.p, v->s.len);
		return NOTE_OK;
	case NV_BYTES:
		*ret = json_bytes(v->s);
		return NOTE_OK;
	case NV_NULL:
	case NV_UNBOUND:
	case NV_TYPE_MAX:
		break;
	}
	*ret = json_null();
	return NOTE_OK;
}

static void nv_children_from_json(struct nv_scope *sc, const json_t *j, struct nv *v)
{
	const char *key;
	size_t len, i;
	json_t *child;
	if (v->type == NV_ARRAY)
		json_array_foreach(j, i, child) nv_add(v, nv_from_json(sc, child));
	else
		json_object_keylen_foreach((json_t *)j, key, len, child)
		{
			struct nv *member = nv_from_json(sc, child);
			member->key = slice_of(key, len);
			nv_add(v, member);
		}
}

struct nv *nv_from_json(struct nv_scope *sc, const json_t *j)
{
	static const enum nv_type types[] = {
		[JSON_OBJECT] = NV_OBJECT, [JSON_ARRAY] = NV_ARRAY, [JSON_STRING] = NV_STR,
		[JSON_INTEGER] = NV_INT,   [JSON_REAL] = NV_REAL,   [JSON_TRUE] = NV_BOOL,
		[JSON_FALSE] = NV_BOOL,	   [JSON_NULL] = NV_NULL,
	};
	struct nv *v = nv_new(sc, types[json_typeof(j)], NULL);
	if (v->type == NV_STR)
		v->s = slice_of(json_string_value(j), json_string_length(j));
	else if (v->type == NV_INT)
		v->i = json_integer_value(j);
	else if (v->type == NV_REAL)
		v->d = json_real_value(j);
	else if (v->type == NV_BOOL)
		v->b = json_is_true(j);
	else if (v->type != NV_NULL)
		nv_children_from_json(sc, j, v);
	return v;
}
