/* What a client says of an item, laid over what is there. */
#include <stdlib.h>
#include <string.h>

#include "common/xalloc.h"
#include "daemon/engine/todo_impl.h"
#include "proto/errors.h"
#include "proto/mp.h"

/* Elements of a raw container, with the cursor at the first; 0 for anything else. */
static uint32_t open_container(struct slice raw, struct mp *m)
{
	struct mp_value head;

	if (!raw.p)
		return 0;
	*m = mp_of(raw);
	head = mp_next(m);
	return head.type == MP_ARRAY || head.type == MP_MAP ? head.count : 0;
}

struct given_name {
	struct slice name;
	uint32_t at;
};

static int name_order(const void *a, const void *b)
{
	const struct given_name *x = a, *y = b;
	int r = memcmp(x->name.p, y->name.p, MIN2(x->name.len, y->name.len));

	if (r == 0 && x->name.len == y->name.len)
		return x->at < y->at ? -1 : 1;
	return r ? r : x->name.len < y->name.len ? -1 : 1;
}

static int place_order(const void *a, const void *b)
{
	const struct given_name *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

/* The names as str, each once where it first stood; absent when there are none. */
static struct slice apply_names(struct stage *s, struct slice given)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	struct mp m;
	uint32_t n = open_container(given, &m), kept = 0;
	_cleanup_free_ struct given_name *names = xmalloc((n + 1) * sizeof(*names));

	if (n == 0)
		return SLICE_NONE;
	for (uint32_t i = 0; i < n; i++)
		names[i] = (struct given_name){ mp_next(&m).bytes, i };
	qsort(names, n, sizeof(*names), name_order);
	for (uint32_t i = 0; i < n; i++)
		if (i == 0 || !slice_eq(names[kept - 1].name, names[i].name))
			names[kept++] = names[i];
	qsort(names, kept, sizeof(*names), place_order);
	pk_array(&pk);
	for (uint32_t i = 0; i < kept; i++)
		pk_str(&pk, names[i].name);
	pk_end(&pk);
	return stage_bytes(s, &b);
}

static bool is_nil(struct slice raw)
{
	return raw.len == 1 && (unsigned char)raw.p[0] == 0xc0;
}

/* Also with nil as its value. */
static bool map_has(struct slice map, struct slice key)
{
	struct mp m;

	for (uint32_t n = open_container(map, &m); n > 0; n--) {
		if (slice_eq(mp_next(&m).bytes, key))
			return true;
		mp_skip(&m);
	}
	return false;
}

/* `given` over `had`, key by key; nil removes. An empty map removes all. */
static struct slice apply_meta(struct stage *s, struct slice had, struct slice given)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	uint32_t kept = 0, n;
	struct mp m;

	if (open_container(given, &m) == 0)
		return SLICE_NONE;
	pk_map(&pk);
	for (n = open_container(had, &m); n > 0; n--) {
		struct slice key = mp_next(&m).bytes, value = mp_skip(&m);

		if (!map_has(given, key)) {
			pk_keyslice(&pk, key);
			pk_raw(&pk, value);
			kept++;
		}
	}
	for (n = open_container(given, &m); n > 0; n--) {
		struct slice key = mp_next(&m).bytes, value = mp_skip(&m);

		if (!is_nil(value)) {
			pk_keyslice(&pk, key);
			pk_raw(&pk, value);
			kept++;
		}
	}
	pk_end(&pk);
	return kept > 0 ? stage_bytes(s, &b) : SLICE_NONE;
}

/* That it was "critical" is said in meta: of a priority that is given anew it is no longer true. */
static void apply_priority(struct stage *s, const struct todo_item *item, struct todo_row *row)
{
	static const char forget[] = "\x81\xa8priority\xc0";

	row->priority = (enum todo_priority)item->priority;
	if (slice_is(mp_get_str(row->meta, "priority"), "critical") &&
	    !(item->meta.p && mp_find(item->meta, "priority").p))
		row->meta = apply_meta(s, row->meta, slice_of(forget, sizeof(forget) - 1));
}

static int apply_text(struct stage *s, const char *name, struct slice given, const char **to,
		      struct err *e)
{
	if (!given.p)
		return 0;
	if (memchr(given.p, '\0', given.len))
		return err_set(e, E_PARAMS, "%s: must not hold a NUL byte", name);
	*to = stage_str(s, given);
	return 0;
}

int todo_apply(struct stage *s, const struct todo_item *item, struct todo_row *row, struct err *e)
{
	if (item->status >= 0)
		todo_row_move(row, (enum todo_status)item->status, s->by->now_ms);
	if (item->priority >= 0)
		apply_priority(s, item, row);
	if (apply_text(s, "content", item->content, &row->content, e) ||
	    apply_text(s, "active_form", item->active_form, &row->active_form, e) ||
	    apply_text(s, "description", item->description, &row->description, e) ||
	    apply_text(s, "owner", item->owner, &row->owner, e) ||
	    apply_text(s, "parent", item->parent, &row->parent, e) ||
	    apply_text(s, "at", item->at, &row->at, e) ||
	    apply_text(s, "error", item->error, &row->error, e))
		return 1;
	if (item->blocked_by.p)
		row->blocked_by = apply_names(s, item->blocked_by);
	if (item->tags.p)
		row->tags = apply_names(s, item->tags);
	if (item->meta.p)
		row->meta = apply_meta(s, row->meta, item->meta);
	return 0;
}
