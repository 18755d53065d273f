#include "proto/todo_item.h"

#include "proto/pack.h"
#include "proto/value.h"

/* stored, never renumber */
const char *const wire_todo_statuses[] = { "pending", "in_progress", "completed", "cancelled",
					   NULL };
const char *const wire_todo_priorities[] = { "high", "medium", "low", "critical", NULL };

/* The item is all there is. */
struct todo_item_at {
	struct todo_item item;
};

const struct field todo_item_fields[] = {
	TODO_ITEM_FIELDS(struct todo_item_at, item),
	{ "source", FIELD_IGNORED, .doc = "ignored when written" },
	{ "list", FIELD_IGNORED, .doc = "ignored when written" },
	FIELD_END,
};

/* Keys that go to meta, gathered while the item is decoded. */
struct todo_extra {
	struct buf pairs; /* packed key, value, key, value... */
	uint32_t count;
};

static int todo_unknown(void *arg, struct slice key, struct slice value, struct err *e)
{
	struct todo_extra *x = arg;
	struct pk pk = PK_INIT(&x->pairs);
	char text[VALUE_QUOTE_MAX];
	if (value_verify(value, LIMIT_META_DEPTH - 1, e))
		return err_prefix(e, ".%s", value_quote(key, text));
	if (value.len == 1 && (unsigned char)value.p[0] == 0xc0)
		return 0;
	pk_str(&pk, key);
	pk_raw(&pk, value);
	x->count++;
	return 0;
}

/* The gathered pairs as a map of their own. */
static void todo_extra_map(const struct todo_extra *x, struct buf *b)
{
	struct pk pk = PK_INIT(b);
	struct mp m = mp_of(buf_slice(&x->pairs));
	pk_map(&pk);
	for (uint32_t i = 0; i < x->count; i++) {
		pk_keyslice(&pk, mp_next(&m).bytes);
		pk_raw(&pk, mp_skip(&m));
	}
	pk_end(&pk);
}

/* `extra` and, where it says nothing, the item's own meta. */
static void todo_merge_meta(struct slice extra, struct slice own, struct buf *b)
{
	struct pk pk = PK_INIT(b);
	struct slice sources[] = { extra, own };
	pk_map(&pk);
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		struct mp m = mp_of(sources[i]);
		struct mp_value head = mp_next(&m);
		for (uint32_t n = head.type == MP_MAP ? head.count : 0; n > 0; n--) {
			struct mp_value k = mp_next(&m);
			struct slice v = mp_skip(&m);
			if (i == 1 && mp_find_slice(extra, k.bytes).p)
				continue;
			pk_keyslice(&pk, k.bytes);
			pk_raw(&pk, v);
		}
	}
	pk_end(&pk);
}

int todo_item_check(const struct field *table, uint64_t seen, const struct todo_item *item,
		    struct err *e)
{
	for (const struct field *f = table; f->name; f++)
		for (const struct field *g = table; g < f; g++)
			if (f->type != FIELD_IGNORED && g->type != FIELD_IGNORED &&
			    f->offset == g->offset && (seen >> (f - table) & 1) &&
			    (seen >> (g - table) & 1))
				return err_set(e, E_PARAMS, ".%s: given twice, as '%s' too",
					       f->name, g->name);
	if (item->content.p && item->content.len == 0)
		return err_set(e, E_PARAMS, ".content: must not be empty");
	if (!item->id.p && !item->content.p)
		return err_set(e, E_PARAMS,
			       ": an item needs 'content', or the 'id' of one that is there");
	return 0;
}

static int todo_item_meta(struct todo_item *item, struct todo_extra *x, struct buf *storage,
			  struct err *e)
{
	struct pk pk = PK_INIT(&x->pairs);
	_cleanup_buf_ struct buf map = BUF_INIT;
	if (item->priority == TODO_ITEM_CRITICAL) {
		item->priority = 0;
		pk_str(&pk, slice_str("priority"));
		pk_str(&pk, slice_str("critical"));
		x->count++;
	}
	if (x->count == 0)
		return 0;
	todo_extra_map(x, &map);
	if (value_keys_distinct(buf_slice(&map), e))
		return 1;
	if (storage) {
		todo_merge_meta(buf_slice(&map), item->meta, storage);
		item->meta = buf_slice(storage);
	}
	return 0;
}

int todo_item_decode(struct slice raw, const char *path, struct todo_item *ret,
		     struct buf *meta_storage, struct err *e)
{
	struct todo_extra x = { BUF_INIT, 0 };
	struct field_opts opts = { .unknown = todo_unknown, .arg = &x };
	struct todo_item item = TODO_ITEM_INIT;
	uint64_t seen = 0;
	if (meta_storage)
		buf_clear(meta_storage);
	int r = field_decode_with(todo_item_fields, raw, &item, path, &opts, &seen, e);
	if (r == 0 && (todo_item_check(todo_item_fields, seen, &item, e) ||
		       todo_item_meta(&item, &x, meta_storage, e)))
		r = value_at(e, path, NULL);
	buf_done(&x.pairs);
	if (r == 0)
		*ret = item;
	return r;
}
