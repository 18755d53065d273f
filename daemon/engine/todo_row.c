/* One item: its memory, its shape on the wire and in events, its moves. */
#include <string.h>

#include "common/xalloc.h"
#include "daemon/engine/todo_impl.h"
#include "proto/mp.h"

/* Offsets of what a row points to, with the names on the wire. */
static const struct row_text {
	const char *key;
	size_t offset;
} row_texts[] = {
	{ "id", offsetof(struct todo_row, id) },
	{ "content", offsetof(struct todo_row, content) },
	{ "active_form", offsetof(struct todo_row, active_form) },
	{ "description", offsetof(struct todo_row, description) },
	{ "owner", offsetof(struct todo_row, owner) },
	{ "parent", offsetof(struct todo_row, parent) },
	{ "at", offsetof(struct todo_row, at) },
	{ "error", offsetof(struct todo_row, error) },
	{ "source", offsetof(struct todo_row, source) },
};

static const struct row_text row_blobs[] = {
	{ "blocked_by", offsetof(struct todo_row, blocked_by) },
	{ "tags", offsetof(struct todo_row, tags) },
	{ "meta", offsetof(struct todo_row, meta) },
};

static const char **row_text_at(struct todo_row *row, size_t i)
{
	return (const char **)((char *)row + row_texts[i].offset);
}

static const char *row_text_of(const struct todo_row *row, size_t i)
{
	return *(const char *const *)((const char *)row + row_texts[i].offset);
}

static struct slice *row_blob_at(struct todo_row *row, size_t i)
{
	return (struct slice *)(void *)((char *)row + row_blobs[i].offset);
}

static struct slice row_blob_of(const struct todo_row *row, size_t i)
{
	return *(const struct slice *)(const void *)((const char *)row + row_blobs[i].offset);
}

struct todo *todo_new(const struct todo_row *row)
{
	size_t size = sizeof(struct todo);
	struct todo *item;
	char *to;

	for (size_t i = 0; i < ARRAY_SIZE(row_texts); i++)
		size += row_text_of(row, i) ? strlen(row_text_of(row, i)) + 1 : 0;
	for (size_t i = 0; i < ARRAY_SIZE(row_blobs); i++)
		size += row_blob_of(row, i).len;
	item = xcalloc(1, size);
	item->row = *row;
	to = (char *)(item + 1);
	for (size_t i = 0; i < ARRAY_SIZE(row_texts); i++) {
		const char **text = row_text_at(&item->row, i);
		size_t len = *text ? strlen(*text) + 1 : 0;

		if (len) {
			*text = memcpy(to, *text, len);
			to += len;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(row_blobs); i++) {
		struct slice *blob = row_blob_at(&item->row, i);

		if (blob->p) {
			blob->p = memcpy(to, blob->p, blob->len);
			to += blob->len;
		}
	}
	return item;
}

static bool text_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool todo_row_equal(const struct todo_row *a, const struct todo_row *b)
{
	for (size_t i = 0; i < ARRAY_SIZE(row_texts); i++)
		if (!text_equal(row_text_of(a, i), row_text_of(b, i)))
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(row_blobs); i++)
		if (!slice_eq(row_blob_of(a, i), row_blob_of(b, i)))
			return false;
	return a->status == b->status && a->priority == b->priority && a->position == b->position &&
	       a->created == b->created && a->started == b->started &&
	       a->completed == b->completed && a->lease_until == b->lease_until;
}

bool todo_row_is_error(const struct todo_row *row)
{
	return row->error && *row->error;
}

void todo_row_move(struct todo_row *row, enum todo_status status, int64_t now_ms)
{
	if (row->status == status)
		return;
	row->status = status;
	row->lease_until = 0;
	row->error = NULL;
	row->completed = status == TODO_COMPLETED ? now_ms : 0;
	if (status == TODO_PENDING)
		row->started = 0;
	if (status == TODO_IN_PROGRESS)
		row->started = now_ms;
}

/* --- as on the wire --- */

static void pack_time(struct pk *pk, const char *key, int64_t ms)
{
	pk_kint_or_nil(pk, key, ms, ms != 0);
}

static void pack_array(struct pk *pk, const char *key, struct slice array)
{
	pk_key(pk, key);
	if (array.p) {
		pk_raw(pk, array);
	} else {
		pk_array(pk);
		pk_end(pk);
	}
}

static void pack_meta(struct pk *pk, struct slice meta)
{
	pk_key(pk, "meta");
	if (meta.p) {
		pk_raw(pk, meta);
	} else {
		pk_map(pk);
		pk_end(pk);
	}
}

void todo_pack(struct pk *pk, const struct todo_row *row)
{
	pk_map(pk);
	pk_kstr(pk, "id", slice_str(row->id));
	pk_kstr(pk, "content", slice_str(row->content));
	pk_kstr(pk, "status", slice_str(todo_status_names[row->status]));
	pk_kstr(pk, "priority", slice_str(todo_priority_names[row->priority]));
	pk_kstr(pk, "active_form", slice_str(row->active_form));
	pk_kstr(pk, "description", slice_str(row->description));
	pk_kstr(pk, "owner", slice_str(row->owner));
	pack_array(pk, "blocked_by", row->blocked_by);
	pk_kstr(pk, "parent", slice_str(row->parent));
	pack_array(pk, "tags", row->tags);
	pk_kstr(pk, "at", slice_str(row->at));
	/* Made from an op's output perhaps: bytes that are no UTF-8 must not break a reader. */
	pk_ktext(pk, "error", slice_str(row->error));
	pk_kstr(pk, "source", slice_str(row->source));
	pack_meta(pk, row->meta);
	pk_kint(pk, "position", row->position);
	pk_kint(pk, "rev", row->rev);
	pk_kint(pk, "created", row->created);
	pack_time(pk, "started", row->started);
	pack_time(pk, "completed", row->completed);
	pack_time(pk, "lease_until", row->lease_until);
	pk_kint_or_nil(pk, "run", (int64_t)row->run, row->run != 0);
	pk_end(pk);
}

/* Index of the name; `dflt` where it is none. */
static int unpack_name(struct slice name, const char *const *names, int dflt)
{
	for (int i = 0; names[i]; i++)
		if (slice_is(name, names[i]))
			return i;
	return dflt;
}

/* Empty containers are how absent ones are shown. */
static struct slice unpack_blob(struct slice item, const char *key)
{
	struct slice raw = mp_find(item, key);
	struct mp m = mp_of(raw);
	struct mp_value head = mp_next(&m);

	return (head.type == MP_ARRAY || head.type == MP_MAP) && head.count > 0 ? raw : SLICE_NONE;
}

void todo_unpack(struct slice item, struct buf *strings, struct todo_row *ret)
{
	struct todo_row row = { .list = NULL };

	buf_clear(strings);
	/* All strings of the item with a NUL each: nothing moves from here on. */
	buf_reserve(strings, item.len + ARRAY_SIZE(row_texts));
	for (size_t i = 0; i < ARRAY_SIZE(row_texts); i++) {
		struct slice s = mp_get_str(item, row_texts[i].key);

		if (s.p) {
			*row_text_at(&row, i) = strings->p + strings->len;
			buf_addslice(strings, s);
			buf_addc(strings, '\0');
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(row_blobs); i++)
		*row_blob_at(&row, i) = unpack_blob(item, row_blobs[i].key);
	row.status = (enum todo_status)unpack_name(mp_get_str(item, "status"), todo_status_names,
						   TODO_PENDING);
	row.priority = (enum todo_priority)unpack_name(mp_get_str(item, "priority"),
						       todo_priority_names, TODO_MEDIUM);
	row.position = mp_get_int(item, "position", 0);
	row.rev = mp_get_int(item, "rev", 0);
	row.created = mp_get_int(item, "created", 0);
	row.started = mp_get_int(item, "started", 0);
	row.completed = mp_get_int(item, "completed", 0);
	row.lease_until = mp_get_int(item, "lease_until", 0);
	row.run = (uint64_t)mp_get_int(item, "run", 0);
	*ret = row;
}
