/*
 * What is kept how long: which output goes first, what is counted, and that whatever is many goes
 * bit by bit. Runs are made as rows with files beside them; the clock is that of the test where
 * sql_keep_choose is asked, the real one for the keeper.
 */
#include "store_world.h"

#include <sqlite3.h>

#include "common/timeutil.h"
#include "daemon/store/keep.h"
#include "daemon/store/sql_keep.h"
#include "proto/errors.h"

static struct world w;

static void setup(void)
{
	world_init(&w);
}

static void teardown(void)
{
	world_done(&w);
}

/* --- making runs --- */

static void put_file(uint64_t run, const char *suffix, size_t bytes)
{
	_cleanup_free_ char *path =
		xasprintf("%s/runs/%llu.%s", w.dir, (unsigned long long)run, suffix);
	_cleanup_free_ char *content = xcalloc(1, bytes + 1);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(content, 1, bytes, f), bytes);
	fclose(f);
}

static bool has_log(uint64_t run)
{
	_cleanup_free_ char *log = xasprintf("runs/%llu.log", (unsigned long long)run);
	_cleanup_free_ char *idx = xasprintf("runs/%llu.idx", (unsigned long long)run);

	ck_assert(file_exists(&w, log) == file_exists(&w, idx));
	return file_exists(&w, log);
}

/* A run that ended at that time; pages of output, each 4 KiB of log, and one of index. */
static void make_run(uint64_t run, enum run_state state, int64_t ended, unsigned pages)
{
	struct answer a = { .n = 0 };
	struct txn *t = txn_of_run(&a, run, NULL, 1);
	struct run_row row = { .run = run,
			       .state = state,
			       .started = ended - 1,
			       .ended = ended,
			       .messages = slice_of("\x90", 1) };
	struct op_row op = { .run = run, .op = 1, .attempts = 2 };

	if (pages) {
		put_file(run, "log", pages * 4096);
		put_file(run, "idx", 64);
	}
	txn_op(t, &op);
	op.attempts = 1;
	txn_attempt(t, &op);
	if (run_state_ended(state))
		txn_run_update(t, &row);
	commit_now(&w, t, &a);
	ck_assert_int_eq(a.status, TXN_DONE);
}

/* The one integer that a statement gives. */
static int64_t query(const char *text)
{
	_cleanup_free_ char *path = xasprintf("%s/batchd.db", w.dir);
	sqlite3_stmt *stmt;
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, text, -1, &stmt, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(stmt), SQLITE_ROW);
	int64_t v = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return v;
}

/* --- which go --- */

struct choice {
	struct keep_ask ask;
	struct keep_found found;
};

static void choose(struct sql_reader *r, void *arg)
{
	struct choice *c = arg;
	struct err e = ERR_INIT;

	c->ask.log_bytes = store_log_bytes(w.store);
	ck_assert_msg(sql_keep_choose(r, &c->ask, &c->found, &e) == 0, "%s", e.text);
}

static const char *ids(const struct buf *b, char text[256])
{
	const uint64_t *p = (const void *)b->p;

	text[0] = '\0';
	for (size_t i = 0; i < b->len / sizeof(*p); i++) {
		size_t at = strlen(text);
		snprintf(text + at, 256 - at, "%llu ", (unsigned long long)p[i]);
	}
	return text;
}

#define PAGES(n) ((n)*INT64_C(4096))

/*
 * Ten minutes, a run each: 1 succeeded 2 failed 3 succeeded 4 cancelled 5 succeeded 6 interrupted,
 * with output of 1 to 6 pages and a page of index; 7 succeeded without; 8 runs.
 */
static const struct {
	const char *name;
	struct keep_limits limits;
	int64_t now_s; /* after the first's end */
	const char *by_age, *by_size, *forget;
	int64_t next_s; /* -1: never */
} choices[] = {
	{ "for ever", { 0, 0, 0 }, 100000, "", "", "", -1 },
	{ "nothing yet", { 60000, 0, 0 }, 30, "", "", "", 63 },
	{ "by age", { 60000, 0, 0 }, 150, "1 2 ", "", "", 183 },
	{ "by age, succeeded first", { 60000, 0, 0 }, 1000, "1 3 5 2 4 6 ", "", "", -1 },
	{ "all fits", { 0, PAGES(27), 0 }, 1000, "", "", "", -1 },
	{ "one page too much", { 0, PAGES(27) - 1, 0 }, 1000, "", "1 ", "", -1 },
	{ "the oldest succeeded", { 0, PAGES(25) - 1, 0 }, 1000, "", "1 3 ", "", -1 },
	{ "then the others", { 0, PAGES(14), 0 }, 1000, "", "1 3 5 2 ", "", -1 },
	{ "all", { 0, 1, 0 }, 1000, "", "1 3 5 2 4 6 ", "", -1 },
	{ "rows", { 0, 0, 60000 }, 150, "", "", "1 2 ", 183 },
	{ "rows, without output too", { 0, 0, 60000 }, 420, "", "", "1 2 3 4 5 6 7 ", -1 },
	{ "what goes by age first", { 60000, 1, 0 }, 70, "1 ", "", "", 123 },
	{ "slack has an end", { 24 * 3600000, 0, 0 }, 0, "", "", "", 24 * 3600 + 60 },
};

static void make_seven(void)
{
	static const enum run_state states[] = { RUN_SUCCEEDED, RUN_FAILED,    RUN_SUCCEEDED,
						 RUN_CANCELLED, RUN_SUCCEEDED, RUN_INTERRUPTED,
						 RUN_SUCCEEDED };

	for (unsigned i = 0; i < 7; i++)
		make_run(i + 1, states[i], 1000000 + i * 60000, i < 6 ? i + 1 : 0);
	make_run(8, RUN_RUNNING, 0, 9);
}

START_TEST(the_order_of_going)
{
	struct choice c = { .ask = { .limits = choices[_i].limits,
				     .now_ms = 1000000 + choices[_i].now_s * 1000 } };
	char text[256];

	make_seven();
	ck_assert_int_eq(store_log_bytes(w.store), PAGES(27));
	world_read(&w, choose, &c);
	ck_assert_str_eq(ids(&c.found.by_age, text), choices[_i].by_age);
	ck_assert_str_eq(ids(&c.found.by_size, text), choices[_i].by_size);
	ck_assert_str_eq(ids(&c.found.forget, text), choices[_i].forget);
	int64_t next = choices[_i].next_s;
	/* The slack is a sixteenth: 3.75 s of a minute. */
	if (next < 0)
		ck_assert_int_eq(c.found.next_ms, INT64_MAX);
	else
		ck_assert_int_eq((c.found.next_ms - 1000000) / 1000, next);
	keep_found_done(&c.found);
}
END_TEST

START_TEST(what_is_needed_stays)
{
	struct choice c = { .ask = { .limits = { .rows_ms = 60000 }, .now_ms = 9000000 } };
	const struct need_row needs[] = { { 1, 8 }, { 3, 8 }, { 99, 8 } };
	char text[256];

	make_seven();
	buf_add(&c.ask.needed, needs, sizeof(needs));
	world_read(&w, choose, &c);
	ck_assert_str_eq(ids(&c.found.forget, text), "2 4 5 6 7 ");
	ck_assert(c.found.blocked);
	ck_assert_int_eq(c.found.next_ms, INT64_MAX);
	keep_found_done(&c.found);
	buf_done(&c.ask.needed);
}
END_TEST

START_TEST(a_step_has_an_end)
{
	struct choice c = { .ask = { .limits = { .output_ms = 1, .rows_ms = 1000 },
				     .now_ms = INT64_C(1) << 40 } };

	for (uint64_t run = 1; run <= KEEP_STEP + 3; run++)
		make_run(run, RUN_SUCCEEDED, 1000 + (int64_t)run, 1);
	world_read(&w, choose, &c);
	ck_assert_uint_eq(c.found.forget.len, KEEP_STEP * sizeof(uint64_t));
	ck_assert_uint_eq(c.found.by_age.len, KEEP_STEP * sizeof(uint64_t));
	keep_found_done(&c.found);
}
END_TEST

/* --- what is counted --- */

static void drop(uint64_t run)
{
	struct answer a = { .n = 0 };
	struct txn *t = txn_new(answer_fill, &a);

	txn_drop(t, run, DROPPED_BY_SIZE, 77);
	commit_now(&w, t, &a);
}

START_TEST(the_total_is_that_of_the_rows)
{
	struct answer a = { .n = 0 };

	make_seven();
	drop(3);
	ck_assert_int_eq(store_log_bytes(w.store), PAGES(23));
	drop(3);
	ck_assert_int_eq(store_log_bytes(w.store), PAGES(23));
	struct txn *t = txn_new(answer_fill, &a);
	txn_forget(t, 6);
	txn_forget(t, 6);
	txn_forget(t, 1234);
	txn_tidy(t, false);
	commit_now(&w, t, &a);
	ck_assert_int_eq(store_log_bytes(w.store), PAGES(16));
	ck_assert_int_eq(query("SELECT sum(log_bytes) FROM run"), PAGES(16));
	world_reopen(&w);
	ck_assert_int_eq(store_log_bytes(w.store), PAGES(16));
	ck_assert_int_eq(query("SELECT dropped_at FROM run WHERE run = 3"), 77);
}
END_TEST

START_TEST(holes_are_not_counted)
{
	_cleanup_free_ char *path = xasprintf("%s/runs/1.log", w.dir);
	struct answer a = { .n = 0 };

	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
	put_file(1, "log", 65536);
	int fd = open(path, O_RDWR);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 8192), 0);
	close(fd);
	struct txn *t = txn_new(answer_fill, &a);
	txn_run_update(t, &(struct run_row){ .run = 1, .state = RUN_FAILED, .ended = 5 });
	commit_now(&w, t, &a);
	ck_assert_int_eq(store_log_bytes(w.store), 65536 - 8192);
}
END_TEST

/* --- bit by bit --- */

START_TEST(a_large_run_goes_in_pieces_and_a_crash_loses_no_piece)
{
	struct answer a = { .n = 0 };
	struct txn *t = txn_of_run(&a, 1, NULL, 1);
	int64_t left = 5000, rounds = 0;

	for (uint32_t op = 1; op <= 5000; op++)
		txn_op(t, &(struct op_row){ .run = 1, .op = op });
	txn_run_update(t, &(struct run_row){ .run = 1, .state = RUN_FAILED, .ended = 5 });
	commit_now(&w, t, &a);
	t = txn_new(answer_fill, &a);
	txn_forget(t, 1);
	commit_now(&w, t, &a);
	ck_assert_int_eq(query("SELECT count(*) FROM run"), 0);
	world_reopen(&w);
	while (query("SELECT count(*) FROM gone") > 0) {
		int64_t before = left;
		t = txn_new(answer_fill, &a);
		txn_tidy(t, false);
		commit_now(&w, t, &a);
		left = query("SELECT count(*) FROM op");
		ck_assert_int_le(before - left, 2000);
		ck_assert_int_lt(rounds++, 10);
	}
	ck_assert_int_eq(left, 0);
	ck_assert_int_eq(query("SELECT count(*) FROM batch"), 0);
	ck_assert_int_ge(rounds, 3);
}
END_TEST

/* --- the keeper --- */

static struct {
	struct buf needed, removed;
	int answers;
	uint32_t forgotten;
	size_t stay;
	struct err e;
} k;

static void k_needed(void *arg _unused_, struct buf *ret)
{
	buf_addslice(ret, buf_slice(&k.needed));
}

static void k_removed(void *arg _unused_, uint64_t run)
{
	buf_add(&k.removed, &run, sizeof(run));
}

static void k_forgot(void *arg _unused_, uint32_t forgotten, const struct buf *stay,
		     const struct err *err)
{
	k.stay = stay->len / sizeof(uint64_t);
	k.answers++;
	k.forgotten = forgotten;
	k.e = err ? *err : (struct err)ERR_INIT;
}

static struct keeper *keeper(int64_t output_ms, int64_t output_bytes, int64_t rows_ms)
{
	struct err e = ERR_INIT;
	struct keep_config c = { .base = w.base,
				 .store = w.store,
				 .limits = { output_ms, output_bytes, rows_ms },
				 .needed = k_needed,
				 .removed = k_removed };

	buf_clear(&k.needed);
	buf_clear(&k.removed);
	k.answers = 0;
	return keeper_new(&c, &e);
}

static void keeper_end(struct keeper *kp)
{
	keeper_quiet(kp);
	store_drain(w.store);
	w.store = store_close(w.store);
	keeper_free(kp);
	buf_done(&k.needed);
	buf_done(&k.removed);
	world_open(&w);
}

static void forget(struct keeper *kp, uint64_t from, uint64_t to, bool strict)
{
	struct buf runs = BUF_INIT;
	int before = k.answers;

	for (uint64_t run = from; run <= to; run++)
		buf_add(&runs, &run, sizeof(run));
	keeper_forget(kp, &runs, strict, k_forgot, NULL);
	while (k.answers == before)
		event_base_loop(w.base, EVLOOP_ONCE);
}

START_TEST(the_keeper_drops_what_is_due_at_the_start)
{
	make_seven();
	struct keeper *kp = keeper(1, 0, 0);
	while (k.removed.len < 6 * sizeof(uint64_t))
		event_base_loop(w.base, EVLOOP_ONCE);
	for (uint64_t run = 1; run <= 6; run++)
		ck_assert(!has_log(run));
	ck_assert(has_log(8));
	ck_assert_int_eq(store_log_bytes(w.store), 0);
	ck_assert_int_eq(query("SELECT count(*) FROM run WHERE dropped = 1"), 6);
	keeper_end(kp);
}
END_TEST

START_TEST(the_keeper_drops_when_its_time_has_come)
{
	struct keeper *kp = keeper(50, 0, 0);
	store_drain(w.store);
	make_run(1, RUN_SUCCEEDED, time_wall_ms(), 1);
	keeper_run_ended(kp);
	/* One goes after the other, while we look. */
	while (file_exists(&w, "runs/1.log") || file_exists(&w, "runs/1.idx"))
		event_base_loop(w.base, EVLOOP_ONCE);
	keeper_end(kp);
}
END_TEST

START_TEST(forgetting_is_counted_and_leaves_nothing)
{
	for (uint64_t run = 1; run <= 600; run++)
		make_run(run, RUN_SUCCEEDED, 1000 + (int64_t)run, run % 100 == 0);
	struct keeper *kp = keeper(0, 0, 0);
	forget(kp, 1, 599, false);
	ck_assert_uint_eq(k.forgotten, 599);
	ck_assert_int_eq(query("SELECT count(*) FROM run"), 1);
	ck_assert_int_eq(query("SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM op) + "
			       "(SELECT count(*) FROM attempt) + (SELECT count(*) FROM batch)"),
			 3);
	ck_assert(!has_log(100) && has_log(600));

	keeper_end(kp);
}
END_TEST

START_TEST(what_is_needed_is_not_forgotten)
{
	const struct need_row need = { 2, 9 };

	make_seven();
	struct keeper *kp = keeper(0, 0, 0);
	buf_add(&k.needed, &need, sizeof(need));
	forget(kp, 2, 2, true);
	ck_assert_int_eq(k.e.sym, E_STATE);
	ck_assert_msg(strstr(k.e.text, "run 2 is needed by run 9"), "%s", k.e.text);
	forget(kp, 1, 3, false);
	ck_assert_int_eq(k.e.sym, 0);
	ck_assert_uint_eq(k.forgotten, 2);
	ck_assert_uint_eq(k.stay, 1);
	ck_assert_int_eq(query("SELECT count(*) FROM run WHERE run <= 3"), 1);
	keeper_end(kp);
}
END_TEST

START_TEST(a_keeper_that_stops_answers)
{
	make_seven();
	struct keeper *kp = keeper(0, 0, 0);
	struct buf runs = BUF_INIT;
	uint64_t one = 1;
	buf_add(&runs, &one, sizeof(one));
	keeper_forget(kp, &runs, true, k_forgot, NULL);
	keeper_quiet(kp);
	ck_assert_int_eq(k.answers, 1);
	ck_assert_int_eq(k.e.sym, E_STATE);
	keeper_end(kp);
}
END_TEST

/* What was deleted is given back to the file system: all but a quarter of what is left. */
START_TEST(the_file_shrinks)
{
	struct answer a = { .n = 0 };
	_cleanup_free_ char *fat = xcalloc(1, 65536);

	memset(fat, 'x', 65535);
	for (uint64_t run = 1; run <= 200; run++) {
		struct txn *t = txn_new(answer_fill, &a);
		struct run_row row = { .run = run, .cwd = "/w" };
		txn_run_new(t, &row, slice_of(fat, 65535), slice_of("", 0));
		row.state = RUN_SUCCEEDED;
		row.ended = 5;
		txn_run_update(t, &row);
		commit_now(&w, t, &a);
	}
	int64_t before = query("PRAGMA page_count");
	struct keeper *kp = keeper(0, 0, 0);
	forget(kp, 1, 200, false);
	while (query("PRAGMA page_count") > 600)
		event_base_loop(w.base, EVLOOP_ONCE);
	ck_assert_int_gt(before, 3000);
	keeper_end(kp);
}
END_TEST

static void fill(Suite *s)
{
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, the_order_of_going, 0, ARRAY_SIZE(choices));
	tcase_add_test(t, what_is_needed_stays);
	tcase_add_test(t, a_step_has_an_end);
	tcase_add_test(t, the_total_is_that_of_the_rows);
	tcase_add_test(t, holes_are_not_counted);
	tcase_add_test(t, a_large_run_goes_in_pieces_and_a_crash_loses_no_piece);
	tcase_add_test(t, the_keeper_drops_what_is_due_at_the_start);
	tcase_add_test(t, the_keeper_drops_when_its_time_has_come);
	tcase_add_test(t, forgetting_is_counted_and_leaves_nothing);
	tcase_add_test(t, what_is_needed_is_not_forgotten);
	tcase_add_test(t, a_keeper_that_stops_answers);
	tcase_add_test(t, the_file_shrinks);
	suite_add_tcase(s, t);
}

int main(void)
{
	return world_run_suites("keep", fill);
}
