#include "daemon/store/sql_keep.h"

#include "daemon/store/sql_reader.h"

#define SLACK_MAX_MS 60000

void keep_found_done(struct keep_found *f)
{
	buf_done(&f->forget);
	buf_done(&f->by_age);
	buf_done(&f->by_size);
}

uint64_t keep_needed_by(const struct buf *needed, uint64_t run)
{
	const struct need_row *row = (const void *)needed->p;

	for (size_t i = 0; i < needed->len / sizeof(*row); i++)
		if (row[i].run == run)
			return row[i].by;
	return 0;
}

int64_t keep_due(int64_t ended_ms, int64_t keep_ms)
{
	return ended_ms + keep_ms + MIN2(keep_ms / 16, SLACK_MAX_MS);
}

static bool full(const struct buf *ids)
{
	return ids->len >= KEEP_STEP * sizeof(uint64_t);
}

static void next_at(struct keep_found *f, int64_t ms)
{
	f->next_ms = MIN2(f->next_ms, ms);
}

/* Oldest first: those that are due, and of the others the first says when to look again. */
static int choose_forget(struct sql_reader *r, const struct keep_ask *ask, struct keep_found *ret,
			 struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = sql_reader_prepare(
		r, "SELECT run, ended FROM run WHERE state >= 3 ORDER BY ended", e);
	int64_t keep_ms = ask->limits.rows_ms;
	bool failed = false;

	if (!stmt)
		return 1;
	while (!full(&ret->forget) && sql_reader_step(r, stmt, &failed, e)) {
		struct sql_column c = { stmt, 0 };
		uint64_t run = (uint64_t)sql_get_int(&c);
		int64_t ended = sql_get_int(&c);

		if (ended > ask->now_ms - keep_ms) {
			next_at(ret, keep_due(ended, keep_ms));
			break;
		}
		if (keep_needed_by(&ask->needed, run))
			ret->blocked = true;
		else
			buf_add(&ret->forget, &run, sizeof(run));
	}
	return failed;
}

/* Runs with output, oldest first: as the index run_log has them. */
static sqlite3_stmt *with_output(struct sql_reader *r, bool succeeded, struct err *e)
{
	return sql_reader_prepare(
		r,
		succeeded ? "SELECT run, ended, log_bytes FROM run WHERE log_bytes > 0 AND"
			    " (state > 3) = 0 ORDER BY ended"
			  : "SELECT run, ended, log_bytes FROM run WHERE log_bytes > 0 AND"
			    " (state > 3) = 1 ORDER BY ended",
		e);
}

static int choose_by_age(struct sql_reader *r, const struct keep_ask *ask, bool succeeded,
			 struct keep_found *ret, struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = with_output(r, succeeded, e);
	int64_t keep_ms = ask->limits.output_ms;
	bool failed = false;

	if (!stmt)
		return 1;
	while (!full(&ret->by_age) && sql_reader_step(r, stmt, &failed, e)) {
		struct sql_column c = { stmt, 0 };
		uint64_t run = (uint64_t)sql_get_int(&c);
		int64_t ended = sql_get_int(&c);

		if (ended > ask->now_ms - keep_ms) {
			next_at(ret, keep_due(ended, keep_ms));
			break;
		}
		buf_add(&ret->by_age, &run, sizeof(run));
	}
	return failed;
}

static int choose_by_size(struct sql_reader *r, bool succeeded, int64_t *excess,
			  struct keep_found *ret, struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt = with_output(r, succeeded, e);
	bool failed = false;

	if (!stmt)
		return 1;
	while (*excess > 0 && !full(&ret->by_size) && sql_reader_step(r, stmt, &failed, e)) {
		struct sql_column c = { stmt, 0 };
		uint64_t run = (uint64_t)sql_get_int(&c);

		sql_get_int(&c);
		*excess -= sql_get_int(&c);
		buf_add(&ret->by_size, &run, sizeof(run));
	}
	return failed;
}

static int choose_left(struct sql_reader *r, struct keep_found *ret, struct err *e)
{
	_cleanup_query_ sqlite3_stmt *stmt =
		sql_reader_prepare(r, "SELECT EXISTS(SELECT 1 FROM gone)", e);
	bool failed = false;

	if (!stmt)
		return 1;
	if (sql_reader_step(r, stmt, &failed, e))
		ret->gone = sqlite3_column_int(stmt, 0) != 0;
	ret->spare_pages = sql_spare_pages(&r->sql);
	return failed;
}

int sql_keep_choose(struct sql_reader *r, const struct keep_ask *ask, struct keep_found *ret,
		    struct err *e)
{
	const struct keep_limits *l = &ask->limits;
	int64_t excess = l->output_bytes ? ask->log_bytes - l->output_bytes : 0;

	buf_clear(&ret->forget);
	buf_clear(&ret->by_age);
	buf_clear(&ret->by_size);
	ret->next_ms = INT64_MAX;
	ret->gone = ret->blocked = false;
	if (choose_left(r, ret, e))
		return 1;
	if (l->rows_ms && choose_forget(r, ask, ret, e))
		return 1;
	if (l->output_ms &&
	    (choose_by_age(r, ask, true, ret, e) || choose_by_age(r, ask, false, ret, e)))
		return 1;
	/* What goes for its age makes room too: by how much is known when it has gone. */
	if (ret->forget.len || ret->by_age.len || excess <= 0)
		return 0;
	return choose_by_size(r, true, &excess, ret, e) ||
	       choose_by_size(r, false, &excess, ret, e);
}
