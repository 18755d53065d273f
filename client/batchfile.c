#include "client/batchfile.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "client/json.h"
#include "client/json_text.h"
#include "client/notation.h"
#include "common/fd.h"
#include "common/text.h"
#include "proto/batch.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"
#include "proto/scan.h"

/* A proof of so much takes a while. */
#define LEAVE_BYTES (1u << 20)

enum batchfile_kind {
	BATCHFILE_JSON, /* a batch, or an array of tool calls */
	BATCHFILE_MSGPACK,
	BATCHFILE_NOTATION,
};

/* A file being read. */
struct batchfile {
	const char *name;
	struct slice text;
	const struct reading *how;
	struct notation_places places; /* of the notation: where errors are */
	bool has_places;
	struct err *e;
};

static struct slice batchfile_skip_mark(struct slice text)
{
	bool mark = text.len >= 3 && memcmp(text.p, "\xef\xbb\xbf", 3) == 0;
	return mark ? slice_of(text.p + 3, text.len - 3) : text;
}

static size_t batchfile_blanks(struct slice text, size_t from)
{
	while (from < text.len && memchr(" \t\r\n", text.p[from], 4))
		from++;
	return from;
}

/*
 * A map or array of MessagePack begins with a byte that no UTF-8 text begins with, or (map16,
 * map32, array16, array32) that is followed by one no text has there. A '[' begins an array of JSON
 * when a bracket or a string follows, else a header.
 */
static enum batchfile_kind batchfile_kind(struct slice text)
{
	unsigned char first = text.len ? (unsigned char)text.p[0] : 0;
	unsigned char second = text.len > 1 ? (unsigned char)text.p[1] : 0;
	if ((first >= 0x80 && first <= 0x9f) || (first >= 0xdc && first <= 0xdf && second < 0x80))
		return BATCHFILE_MSGPACK;
	size_t at = batchfile_blanks(text, 0);
	if (at < text.len && text.p[at] == '{')
		return BATCHFILE_JSON;
	if (at == text.len || text.p[at] != '[')
		return BATCHFILE_NOTATION;
	at = batchfile_blanks(text, at + 1);
	return at < text.len && memchr("{[]\"", text.p[at], 4) ? BATCHFILE_JSON
							       : BATCHFILE_NOTATION;
}

static struct notation_options batchfile_options(const struct reading *how)
{
	return (struct notation_options){ .defines = how->define.v,
					  .n_defines = how->define.n,
					  .block = how->block,
					  .skip_unknown = how->skip_unknown,
					  .allow_template = how->allow_template };
}

static int batchfile_from_msgpack(struct batchfile *f, json_t **ret)
{
	struct scan scan;
	size_t used = 0;
	scan_init(&scan);
	enum scan_result r = scan_feed(&scan, f->text.p, f->text.len, &used);
	if (r == SCAN_REFUSED)
		return err_set(f->e, E_PARAMS, "%s: MessagePack, but %s", f->name, scan.why);
	if (r == SCAN_MORE)
		return err_set(f->e, E_PARAMS,
			       "%s: MessagePack that ends too soon, after %zu byte%s", f->name,
			       f->text.len, PLURAL(f->text.len));
	if (used < f->text.len)
		return err_set(f->e, E_PARAMS,
			       "%s: %zu byte%s after the end of the MessagePack value", f->name,
			       f->text.len - used, PLURAL(f->text.len - used));
	if (json_from_mp(f->text, ret, f->e))
		return err_prefix(f->e, "%s: ", f->name);
	return 0;
}

static int batchfile_from_notation(struct batchfile *f, json_t **ret)
{
	struct notation_options options = batchfile_options(f->how);
	if (notation_parse(f->name, f->text, &options, ret, &f->places, f->e))
		return 1;
	f->has_places = true;
	return 0;
}

/* A batch map, or tool calls. */
static int batchfile_from_value(struct batchfile *f, json_t **value)
{
	struct notation_options options = batchfile_options(f->how);
	json_t *batch;
	if (json_is_object(*value) && !json_object_get(*value, "messages") &&
	    json_object_get(*value, "input"))
		return err_set(f->e, E_PARAMS,
			       "%s: a single tool call: put it into an array, [{...}]", f->name);
	if (json_is_object(*value))
		return 0;
	if (!json_is_array(*value))
		return err_set(f->e, E_PARAMS, "%s: neither a batch nor an array of tool calls",
			       f->name);
	if (notation_from_calls(f->name, *value, &options, &batch, f->e))
		return 1;
	json_decref(*value);
	*value = batch;
	return 0;
}

static int batchfile_decode(struct batchfile *f, json_t **value)
{
	switch (batchfile_kind(f->text)) {
	case BATCHFILE_JSON:
		return json_read(f->text, f->name, value, f->e) || batchfile_from_value(f, value);
	case BATCHFILE_MSGPACK:
		return batchfile_from_msgpack(f, value) || batchfile_from_value(f, value);
	case BATCHFILE_NOTATION:
		return batchfile_from_notation(f, value);
	}
	return 0;
}

/* ---- what the contract calls absent ---- */

static void batchfile_drop_nulls(json_t *map)
{
	const char *key;
	void *next;
	json_t *v;
	json_object_foreach_safe(map, next, key, v) if (json_is_null(v)) json_object_del(map, key);
}

/* A nil value counts as absent; in env it removes a name, and there it stays. */
static void batchfile_tidy(json_t *batch)
{
	size_t i, j;
	json_t *message, *op;
	batchfile_drop_nulls(batch);
	json_array_foreach(json_object_get(batch, "messages"), i, message)
	{
		batchfile_drop_nulls(message);
		json_array_foreach(json_object_get(message, "ops"), j, op) batchfile_drop_nulls(op);
	}
}

/* ---- proof ---- */

static int batchfile_refuse(struct batchfile *f)
{
	if (f->has_places)
		notation_locate(f->name, f->text, &f->places, f->e);
	else
		err_prefix(f->e, "%s: ", f->name);
	return 1;
}

/* The packed batch, as plan_make takes it. */
static int batchfile_plan(struct slice batch, struct err *e)
{
	struct plan *plan;
	if (batch.len > LIMIT_FRAME_BYTES)
		return err_set(e, E_LIMIT, "the batch is larger than %u bytes", LIMIT_FRAME_BYTES);
	if (plan_make(batch, &plan, e))
		return 1;
	plan_free(plan);
	return 0;
}

/* Relative paths are compared as they would be from here. */
static int batchfile_prove_map(struct pk *pk, struct err *e)
{
	_cleanup_free_ char *here = NULL;
	bool said = mp_find(pk_peek(pk), "cwd").p;
	if (!said) {
		here = getcwd(NULL, 0);
		pk_ktext(pk, "cwd", slice_str(here && here[0] == '/' ? here : "/"));
	}
	int r = batchfile_plan(pk_peek(pk), e);
	if (!said)
		pk_unkey(pk);
	return r;
}

static int batchfile_tree(struct batchfile *f, json_t **ret)
{
	if (batchfile_decode(f, ret))
		return 1;
	batchfile_tidy(*ret);
	return notation_normalise_todos(*ret, f->e) ? batchfile_refuse(f) : 0;
}

static int batchfile_pack_tree(struct batchfile *f, struct pk *pk, json_t **ret)
{
	if (batchfile_tree(f, ret))
		return 1;
	return json_pack_keys(*ret, pk, f->e) || batchfile_prove_map(pk, f->e) ? batchfile_refuse(f)
									       : 0;
}

int batchfile_parse(const char *name, struct slice text, const struct reading *how,
		    json_t **ret_batch, struct err *e)
{
	struct batchfile f = {
		.name = name, .text = batchfile_skip_mark(text), .how = how, .e = e
	};
	_cleanup_json_ json_t *batch = NULL;
	_cleanup_buf_ struct buf packed = BUF_INIT;
	struct pk pk = PK_INIT(&packed);
	pk_map(&pk);
	int r = batchfile_pack_tree(&f, &pk, &batch);
	notation_places_done(&f.places);
	if (r)
		return 1;
	*ret_batch = TAKE_PTR(batch);
	return 0;
}

static int batchfile_pack_text(const char *name, struct slice text, const struct reading *how,
			       struct pk *pk, const char **ret_unproved, struct err *e)
{
	struct batchfile f = {
		.name = name, .text = batchfile_skip_mark(text), .how = how, .e = e
	};
	_cleanup_json_ json_t *batch = NULL;
	if (batchfile_kind(f.text) == BATCHFILE_JSON && json_text_batch(f.text, pk)) {
		bool leave = ret_unproved && text.len >= LEAVE_BYTES;
		if (leave)
			*ret_unproved = name;
		return !leave && batchfile_prove_map(pk, e) ? batchfile_refuse(&f) : 0;
	}
	int r = batchfile_pack_tree(&f, pk, &batch);
	notation_places_done(&f.places);
	return r;
}

int batchfile_pack(const char *name, struct slice text, const struct reading *how, struct pk *pk,
		   struct err *e)
{
	return batchfile_pack_text(name, text, how, pk, NULL, e);
}

int batchfile_prove(const char *name, struct pk *pk, struct err *e)
{
	return batchfile_prove_map(pk, e) ? err_prefix(e, "%s: ", name) : 0;
}

static int batchfile_text(const char *file, struct buf *text, const char **ret_name, struct err *e)
{
	bool is_stdin = strcmp(file, "-") == 0;
	const char *name = is_stdin ? "<stdin>" : file;
	int r = is_stdin ? fd_read_all(STDIN_FILENO, LIMIT_FRAME_BYTES, text)
			 : fd_read_file(file, LIMIT_FRAME_BYTES, text);
	if (r == -EFBIG)
		return err_set(e, E_LIMIT, "%s: larger than %u bytes", name, LIMIT_FRAME_BYTES);
	if (r < 0)
		return err_set(e, E_PARAMS, "cannot read '%s': %s", name, strerror(-r));
	*ret_name = name;
	return 0;
}

int batchfile_read(const char *file, const struct reading *how, json_t **ret_batch, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	const char *name;
	if (batchfile_text(file, &text, &name, e))
		return 1;
	return batchfile_parse(name, buf_slice(&text), how, ret_batch, e);
}

int batchfile_read_packed(const char *file, const struct reading *how, struct pk *pk,
			  const char **ret_unproved, struct err *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	const char *name;
	if (batchfile_text(file, &text, &name, e))
		return 1;
	return batchfile_pack_text(name, buf_slice(&text), how, pk, ret_unproved, e);
}
