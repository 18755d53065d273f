/* Todo lists as they were: their events, and what a list held at a past revision. */
#include "daemon/store/sql_read.h"

#include <stdlib.h>
#include <string.h>

#include "common/table.h"
#include "common/xalloc.h"
#include "daemon/store/sql_reader.h"
#include "proto/errors.h"
#include "proto/mp.h"
#include "proto/pack.h"

int sql_todo_rev(struct sql_reader *r, const char *list, int64_t *ret, struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(
		r, "SELECT ifnull(max(rev), 0) FROM todo_event WHERE list = ?", e);
	bool failed = false;

	if (!stmt)
		return 1;
	sqlite3_bind_text(stmt, 1, list, -1, SQLITE_STATIC);
	*ret = 0;
	if (sql_reader_step(r, stmt, &failed, e))
		*ret = sqlite3_column_int64(stmt, 0);
	return failed;
}

int sql_todo_history(struct sql_reader *r, const char *list, int64_t since, uint32_t limit,
		     bool (*fn)(void *arg, const struct todo_event_row *row), void *arg,
		     struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(
		r,
		"SELECT list, rev, time, run, source, restored, before, after FROM "
		"todo_event WHERE list = ? AND rev > ?"
		" ORDER BY rev LIMIT ?",
		e);
	bool failed = false;

	if (!stmt)
		return 1;
	sqlite3_bind_text(stmt, 1, list, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, since);
	sqlite3_bind_int64(stmt, 3, limit ? (int64_t)limit : -1);
	while (sql_reader_step(r, stmt, &failed, e)) {
		struct sql_column c = { stmt, 0 };
		struct todo_event_row row = { .list = sql_get_text(&c) };

		row.rev = sql_get_int(&c);
		row.time = sql_get_int(&c);
		row.run = (uint64_t)sql_get_int(&c);
		row.source = sql_get_text(&c);
		row.restored = sql_get_int(&c);
		row.before = sql_get_blob(&c);
		row.after = sql_get_blob(&c);
		if (!fn(arg, &row))
			break;
	}
	return failed;
}

/* --- a list at a past revision ---
 * From the newest event that counts backwards: the first time an id is met decides whether, and
 * how, it was there. */

struct past_item {
	UT_hash_handle hh;
	char *id;
	size_t id_len;
	char *bytes; /* NULL: removed */
	size_t len;
	int64_t position;
};

struct past {
	struct past_item *items;
};

static void past_done(struct past *p)
{
	struct past_item *item, *next;

	HASH_ITER(hh, p->items, item, next)
	{
		HASH_DEL(p->items, item);
		free(item->id);
		free(item->bytes);
		free(item);
	}
}

static void past_meet(struct past *p, struct slice raw, bool live)
{
	struct slice id = mp_get_str(raw, "id");
	struct past_item *item;

	if (!id.p)
		return;
	HASH_FIND(hh, p->items, id.p, id.len, item);
	if (item)
		return;
	item = xcalloc(1, sizeof(*item));
	item->id = xslicedup(id);
	item->id_len = id.len;
	if (live) {
		item->bytes = memcpy(xmalloc(raw.len), raw.p, raw.len);
		item->len = raw.len;
		item->position = mp_get_int(raw, "position", 0);
	}
	HASH_ADD_KEYPTR(hh, p->items, item->id, item->id_len, item);
}

static void past_meet_all(struct past *p, struct slice array, bool live)
{
	struct mp m = mp_of(array);
	struct mp_value v;

	if (!array.p)
		return;
	v = mp_next(&m);
	if (v.type != MP_ARRAY)
		return;
	for (uint32_t i = 0; i < v.count; i++)
		past_meet(p, mp_skip(&m), live);
}

static int past_order(struct past_item *a, struct past_item *b)
{
	if (a->position != b->position)
		return a->position < b->position ? -1 : 1;
	return strverscmp(a->id, b->id);
}

static void past_pack(struct past *p, struct buf *ret)
{
	struct pk pk = PK_INIT(ret);

	HASH_SORT(p->items, past_order);
	pk_array(&pk);
	for (const struct past_item *item = p->items; item; item = item->hh.next)
		if (item->bytes)
			pk_raw(&pk, slice_of(item->bytes, item->len));
	pk_end(&pk);
}

int sql_todo_at(struct sql_reader *r, const char *list, int64_t rev, struct buf *ret, struct err *e)
{
	_cleanup_(past_done) struct past past = { NULL };
	_cleanup_query_ sqlite3_stmt *stmt =
		sql_reader_prepare(r,
				   "SELECT before, after, rev FROM todo_event WHERE list = ? AND "
				   "rev <= ? ORDER BY rev DESC",
				   e);
	bool failed = false, first = true;

	if (!stmt)
		return 1;
	sqlite3_bind_text(stmt, 1, list, -1, SQLITE_STATIC);
	sqlite3_bind_int64(stmt, 2, rev);
	while (sql_reader_step(r, stmt, &failed, e)) {
		struct sql_column c = { stmt, 0 };
		struct slice before = sql_get_blob(&c), after = sql_get_blob(&c);

		if (first && sql_get_int(&c) != rev)
			break;
		first = false;
		past_meet_all(&past, after, true);
		past_meet_all(&past, before, false);
	}
	if (failed)
		return 1;
	if (first && rev != 0)
		return err_set(e, E_NOT_FOUND, "list '%s' has no revision %lld", list,
			       (long long)rev);
	past_pack(&past, ret);
	return 0;
}

/* --- lists --- */

int sql_todo_lists(struct sql_reader *r, bool (*fn)(void *arg, const struct sql_todo_list *row),
		   void *arg, struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(
		r,
		"SELECT v.list, v.rev, sum(t.status = 0), sum(t.status = 1), sum(t.status = 2), "
		"sum(t.status = 3)"
		" FROM (SELECT list, max(rev) AS rev FROM todo_event GROUP BY list) v"
		" LEFT JOIN todo t ON t.list = v.list AND NOT t.removed GROUP BY v.list ORDER BY "
		"v.list",
		e);
	bool failed = false;

	if (!stmt)
		return 1;
	while (sql_reader_step(r, stmt, &failed, e)) {
		struct sql_column c = { stmt, 0 };
		struct sql_todo_list row = { .list = sql_get_text(&c) };

		row.rev = sql_get_int(&c);
		for (int i = 0; i < TODO_STATUS_MAX; i++) {
			row.count[i] = (uint32_t)sql_get_int(&c);
			row.total += row.count[i];
		}
		if (!fn(arg, &row))
			break;
	}
	return failed;
}
