/* The store by its interface: real databases in private folders. What happens when the disk fails
 * is in test_store_fault.c. */
#include "store_world.h"

#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/wait.h>

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

/* A statement on the database from outside. */
static void sql(const char *text)
{
	_cleanup_free_ char *path = xasprintf("%s/batchd.db", w.dir);
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, NULL) == SQLITE_OK, "%s",
		      sqlite3_errmsg(db));
	sqlite3_close(db);
}

/* --- the folder --- */

START_TEST(everything_is_private)
{
	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
	ck_assert_uint_eq(file_mode(&w, "batchd.db"), 0600);
	ck_assert_uint_eq(file_mode(&w, "batchd.db-wal"), 0600);
	ck_assert_uint_eq(file_mode(&w, "lock"), 0600);
	ck_assert_uint_eq(file_mode(&w, "runs"), 0700);
	ck_assert_uint_eq(file_mode(&w, "runs/1.env"), 0600);
}
END_TEST

START_TEST(a_second_batchd_is_told_who_has_it)
{
	struct err e = ERR_INIT;
	struct store *second = NULL;
	pid_t holder = 0;

	ck_assert_int_eq(store_open(&w.config, &second, &holder, &e), STORE_LOCKED);
	ck_assert_int_eq(holder, getpid());
	ck_assert_ptr_nonnull(strstr(e.text, "in use by another batchd"));
}
END_TEST

START_TEST(a_folder_that_everyone_can_write_to_is_refused)
{
	struct err e = ERR_INIT;
	struct store *s = NULL;
	pid_t holder;

	w.store = store_close(w.store);
	chmod(w.dir, 0777);
	ck_assert_int_eq(store_open(&w.config, &s, &holder, &e), 1);
	ck_assert_int_eq(e.sym, E_STORAGE);
	ck_assert_ptr_nonnull(strstr(e.text, "chmod o-w"));
	chmod(w.dir, 0700);
}
END_TEST

static const struct refused {
	const char *name, *sql, *says; /* sql NULL: garbage instead of a database */
} refused[] = {
	{ "newer schema", "PRAGMA user_version = 99",
	  "has schema 99, this batchd (" BATCHD_VERSION ") knows schemas up to " },
	{ "another program", "PRAGMA application_id = 77", "another program's database" },
	{ "no database", NULL, "not a database" },
};

START_TEST(a_database_that_is_not_ours_is_refused)
{
	const struct refused *row = &refused[_i];
	_cleanup_free_ char *path = xasprintf("%s/batchd.db", w.dir);
	struct err e = ERR_INIT;
	struct store *s = NULL;
	pid_t holder;

	w.store = store_close(w.store);
	if (row->sql) {
		sql(row->sql);
	} else {
		FILE *f = fopen(path, "w");

		for (int i = 0; i < 2000; i++)
			fputs("rubbish ", f);
		fclose(f);
	}
	ck_assert_msg(store_open(&w.config, &s, &holder, &e) == 1, "%s was taken", row->name);
	ck_assert_msg(strstr(e.text, row->says) != NULL, "%s: '%s'", row->name, e.text);
}
END_TEST

START_TEST(ids_are_never_reused)
{
	struct answer a = { .n = 0 };
	struct txn *t;
	uint64_t id = store_id(w.store);

	ck_assert_uint_eq(store_next_run(w.store), 1);
	ck_assert_int_eq(add_run(&w, 41, NULL, 1), TXN_DONE);
	t = txn_new(answer_fill, &a);
	txn_forget(t, 41);
	txn_rev(t, 17);
	commit_now(&w, t, &a);
	world_reopen(&w);
	ck_assert_uint_eq(store_next_run(w.store), 42);
	ck_assert_int_eq(store_rev(w.store), 17);
	ck_assert_uint_eq(store_id(w.store), id);
	ck_assert_uint_ne(id, 0);
}
END_TEST

START_TEST(a_reboot_is_noticed_until_marked)
{
	struct answer a = { .n = 0 };

	ck_assert_msg(!store_rebooted(w.store), "a new store knows of no reboot");
	store_mark_boot(w.store);
	commit_now(&w, txn_new(answer_fill, &a), &a);
	world_reopen(&w);
	ck_assert(!store_rebooted(w.store));
	sql("UPDATE meta SET value = 'another boot' WHERE key = 'boot'");
	world_reopen(&w);
	ck_assert(store_rebooted(w.store));
	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
	world_reopen(&w);
	ck_assert_msg(store_rebooted(w.store), "only a mark settles it");
}
END_TEST

/* --- runs --- */

struct loaded {
	int n;
};

static int check_loaded(void *arg, const struct store_run *run, struct err *e _unused_)
{
	const uint32_t *claims = (const void *)run->claims.p;

	((struct loaded *)arg)->n++;
	ck_assert_uint_eq(run->row.run, 5);
	ck_assert_str_eq(run->row.cwd, "/w");
	ck_assert_ptr_null(run->row.name);
	ck_assert_int_eq(run->row.digest[31], 3);
	ck_assert(slice_is(run->batch, "batch bytes"));
	ck_assert_uint_eq(run->claims.len, 8);
	ck_assert_uint_eq(claims[0], 1);
	ck_assert_uint_eq(claims[1], 2);
	ck_assert_uint_eq(run->n_ops, 1);
	ck_assert_uint_eq(run->ops[0].op, 2);
	ck_assert_str_eq(run->ops[0].text, "make");
	ck_assert_str_eq(run->ops[0].error, "no");
	ck_assert_ptr_null(run->ops[0].todo);
	ck_assert_int_eq(run->ops[0].exit, -1);
	ck_assert_int_eq(run->ops[0].duration_ms, INT64_C(5000000000));
	return 0;
}

START_TEST(what_was_stored_is_loaded)
{
	static const uint32_t claims[] = { 1, 2 };
	struct answer a = { .n = 0 };
	struct txn *t = txn_of_run(&a, 5, NULL, 3);
	struct op_row op = { .run = 5,
			     .op = 2,
			     .message = 1,
			     .kind = 1,
			     .text = "make",
			     .state = OP_FAILED,
			     .cause = CAUSE_IO,
			     .exit = -1,
			     .duration_ms = INT64_C(5000000000),
			     .error = "no" };
	struct claim_row claim = { 5, slice_of(claims, sizeof(claims)) };
	struct err e = ERR_INIT;
	struct loaded loaded = { 0 };

	txn_op(t, &op);
	txn_claim(t, &claim);
	commit_now(&w, t, &a);
	ck_assert_int_eq(a.status, TXN_DONE);
	world_reopen(&w);
	ck_assert_msg(store_load_runs(w.store, check_loaded, &loaded, &e) == 0, "%s", e.text);
	ck_assert_int_eq(loaded.n, 1);
}
END_TEST

static void end_run(uint64_t run, enum run_state state)
{
	struct answer a = { .n = 0 };
	struct txn *t = txn_new(answer_fill, &a);
	struct run_row row = { .run = run,
			       .state = state,
			       .started = 2000,
			       .ended = 3000,
			       .summary = { .ops = 2, .wall_ms = 1000 },
			       .messages = slice_of("\x90", 1) };

	txn_run_update(t, &row);
	commit_now(&w, t, &a);
	ck_assert_int_eq(a.status, TXN_DONE);
}

static void look_ended(struct sql_reader *r, void *arg _unused_)
{
	_cleanup_buf_ struct buf strings = BUF_INIT, batch = BUF_INIT;
	struct err e = ERR_INIT;
	struct run_row row;

	ck_assert_msg(sql_run_get(r, 1, &row, &strings, &e) == 0, "%s", e.text);
	ck_assert_int_eq(row.state, RUN_FAILED);
	ck_assert_str_eq(row.cwd, "/w");
	ck_assert_str_eq(row.key, "k");
	ck_assert_int_eq(row.ended, 3000);
	ck_assert_int_eq(row.summary.wall_ms, 1000);
	ck_assert_uint_eq(row.messages.len, 1);
	ck_assert_int_eq(sql_run_batch(r, 1, &batch, &e), 0);
	ck_assert_str_eq(buf_str(&batch), "batch bytes");
	ck_assert_int_eq(sql_run_get(r, 2, &row, &strings, &e), 1);
	ck_assert_int_eq(e.sym, E_NOT_FOUND);
	ck_assert_str_eq(e.text, "no run 2");
}

START_TEST(an_ended_run_is_history_and_its_environment_is_gone)
{
	_cleanup_buf_ struct buf env = BUF_INIT;
	_cleanup_free_ char *path = xasprintf("%s/runs/1.env", w.dir);

	ck_assert_int_eq(add_run(&w, 1, "k", 1), TXN_DONE);
	ck_assert_int_eq(fd_read_file(path, 100, &env), 0);
	ck_assert(slice_eq(buf_slice(&env), slice_of("A=1\0B=2\0", 8)));
	ck_assert(world_has_run(&w, 1));
	end_run(1, RUN_FAILED);
	ck_assert(!file_exists(&w, "runs/1.env"));
	ck_assert(!world_has_run(&w, 1));
	world_read(&w, look_ended, NULL);
}
END_TEST

START_TEST(a_key_finds_its_first_run)
{
	struct answer first = { .n = 0 }, same = { .n = 0 }, other = { .n = 0 };

	/* In one group and in another. */
	commit(&w, txn_of_run(&first, 1, "k", 1));
	commit(&w, txn_of_run(&same, 2, "k", 1));
	commit(&w, txn_of_run(&other, 3, "k", 2));
	store_drain(w.store);
	ck_assert_int_eq(first.status, TXN_DONE);
	ck_assert_int_eq(same.status, TXN_KEY_SAME);
	ck_assert_uint_eq(same.existing, 1);
	ck_assert_int_eq(other.status, TXN_KEY_OTHER);
	ck_assert_uint_eq(other.existing, 1);
	ck_assert(!world_has_run(&w, 2) && !file_exists(&w, "runs/2.env"));
	end_run(1, RUN_SUCCEEDED);
	world_reopen(&w);
	ck_assert_int_eq(add_run(&w, 9, "k", 1), TXN_KEY_SAME);
	ck_assert_int_eq(add_run(&w, 9, "k2", 1), TXN_DONE);
}
END_TEST

START_TEST(answers_come_in_order)
{
	enum { N = 500 };
	struct answer *a = xcalloc(N, sizeof(*a));

	for (uint64_t i = 0; i < N; i++)
		commit(&w, i % 10 == 9 ? txn_new(answer_fill, &a[i])
				       : txn_of_run(&a[i], i + 1, NULL, 1));
	while (a[N - 1].n == 0)
		event_base_loop(w.base, EVLOOP_ONCE);
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(a[i].n, 1);
		ck_assert_int_eq(a[i].status, TXN_DONE);
		ck_assert_msg(i == 0 || a[i].order == a[i - 1].order + 1, "answer %d out of order",
			      i);
	}
	free(a);
}
END_TEST

START_TEST(one_bad_transaction_harms_no_other)
{
	struct answer good = { .n = 0 }, bad = { .n = 0 }, late = { .n = 0 };

	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
	commit(&w, txn_of_run(&good, 2, NULL, 1));
	commit(&w, txn_of_run(&bad, 1, NULL,
			      1)); /* that id is taken: a mistake of ours, not of the others */
	commit(&w, txn_of_run(&late, 3, NULL, 1));
	store_drain(w.store);
	ck_assert_int_eq(good.status, TXN_DONE);
	ck_assert_int_eq(bad.status, TXN_FAILED);
	ck_assert_int_eq(bad.e.sym, E_STORAGE);
	ck_assert_int_eq(late.status, TXN_DONE);
	ck_assert(world_has_run(&w, 2) && world_has_run(&w, 3));
	ck_assert(file_exists(&w, "runs/2.env") && file_exists(&w, "runs/3.env"));
}
END_TEST

static off_t database_bytes(void)
{
	_cleanup_free_ char *path = xasprintf("%s/batchd.db", w.dir);
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_size;
}

/* Not within its commit, for which others wait, but without another commit too. */
START_TEST(a_large_batch_is_brought_into_the_database_in_a_pause)
{
	enum { BYTES = 8 << 20 };
	_cleanup_free_ char *bytes = xcalloc(1, BYTES);
	struct answer a = { .n = 0 };
	struct txn *t = txn_new(answer_fill, &a);
	struct run_row row = {
		.run = 1, .cwd = "/w", .project = "/w", .n_ops = 1, .n_messages = 1
	};

	txn_run_new(t, &row, slice_of(bytes, BYTES), SLICE_NONE);
	commit_now(&w, t, &a);
	ck_assert_int_eq(a.status, TXN_DONE);
	while (database_bytes() < BYTES)
		nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	world_reopen(&w);
	ck_assert(world_has_run(&w, 1));
}
END_TEST

/* --- logs --- */

static atomic_int syncs;
static atomic_int sync_result;

static atomic_bool sync_again;

static int count_sync(const char *dir, uint64_t run, bool again)
{
	atomic_store(&sync_again, again);
	ck_assert_ptr_nonnull(strstr(dir, "/runs"));
	ck_assert_uint_eq(run, 1);
	atomic_fetch_add(&syncs, 1);
	return atomic_load(&sync_result);
}

START_TEST(logs_are_synced_before_results_once_a_run)
{
	struct answer a = { .n = 0 };
	struct op_row op = { .run = 1, .op = 1, .state = OP_SUCCEEDED };
	struct txn *t;

	w.config.sync_log = count_sync;
	world_reopen(&w);
	atomic_store(&syncs, 0);
	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
	t = txn_new(answer_fill, &a);
	txn_op(t, &op); /* silent */
	commit_now(&w, t, &a);
	ck_assert_int_eq(atomic_load(&syncs), 0);
	t = txn_new(answer_fill, &a);
	op.stderr_bytes = 1;
	txn_op(t, &op);
	op.op = 2;
	txn_op(t, &op);
	commit_now(&w, t, &a);
	ck_assert_int_eq(atomic_load(&syncs), 1);
	atomic_store(&sync_result, -EIO);
	t = txn_new(answer_fill, &a);
	txn_op(t, &op);
	commit_now(&w, t, &a);
	atomic_store(&sync_result, 0);
	ck_assert_int_eq(a.status, TXN_FAILED);
	ck_assert_ptr_nonnull(strstr(a.e.text, "output of run 1"));
	ck_assert(!atomic_load(&sync_again));
	for (int again = 1; again >= 0; again--) { /* and once is enough */
		t = txn_new(answer_fill, &a);
		txn_op(t, &op);
		commit_now(&w, t, &a);
		ck_assert_int_eq(a.status, TXN_DONE);
		ck_assert_int_eq(atomic_load(&sync_again), again);
	}
}
END_TEST

static void touch_file(const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", w.dir, name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	fclose(f);
}

static void removed(void *arg)
{
	*(bool *)arg = true;
}

static void remove_files(uint64_t run)
{
	bool done = false;

	store_remove_files(w.store, &run, 1, removed, &done);
	store_drain(w.store);
	ck_assert(done);
}

START_TEST(forgetting_leaves_nothing)
{
	struct answer a = { .n = 0 };
	struct txn *t = txn_of_run(&a, 1, "k", 1);
	struct op_row op = { .run = 1, .op = 1, .attempts = 1 };

	txn_op(t, &op);
	txn_attempt(t, &op);
	commit_now(&w, t, &a);
	touch_file("runs/1.log");
	touch_file("runs/1.idx");
	end_run(1, RUN_FAILED);
	t = txn_new(answer_fill, &a);
	txn_forget(t, 1);
	txn_tidy(t, true);
	commit_now(&w, t, &a);
	remove_files(1);
	ck_assert(!world_has_run(&w, 1));
	ck_assert(!file_exists(&w, "runs/1.log") && !file_exists(&w, "runs/1.idx") &&
		  !file_exists(&w, "runs/1.env"));
	sql("CREATE TABLE t AS SELECT CASE WHEN (SELECT count(*) FROM run) + (SELECT count(*) FROM "
	    "op) + (SELECT count(*) FROM batch)"
	    " + (SELECT count(*) FROM attempt) = 0 THEN 1 ELSE abs(-9223372036854775808) END AS x");
	ck_assert_int_eq(add_run(&w, 2, "k", 2), TXN_DONE);
}
END_TEST

START_TEST(what_a_crash_left_over_is_swept)
{
	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
	ck_assert_int_eq(add_run(&w, 2, NULL, 1), TXN_DONE);
	ck_assert_int_eq(add_run(&w, 3, NULL, 1), TXN_DONE);
	end_run(2, RUN_SUCCEEDED);
	touch_file("runs/2.env");
	touch_file("runs/2.log");
	touch_file("runs/3.env");
	touch_file("runs/notes.txt");
	sql("DELETE FROM run WHERE run = 3");
	touch_file("runs/3.log");
	touch_file("runs/3.idx");
	world_reopen(&w);
	ck_assert(file_exists(&w, "runs/1.env"));
	ck_assert(!file_exists(&w, "runs/2.env"));
	ck_assert(file_exists(&w, "runs/2.log"));
	ck_assert(!file_exists(&w, "runs/3.env") && !file_exists(&w, "runs/3.log") &&
		  !file_exists(&w, "runs/3.idx"));
	ck_assert(file_exists(&w, "runs/notes.txt"));
	ck_assert_uint_eq(store_next_run(w.store), 4);
}
END_TEST

/* A database that was put back to what it was: there is output that is not its own. */
START_TEST(output_of_runs_to_come_is_kept_and_their_ids_are_given)
{
	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
	touch_file("runs/7.log");
	touch_file("runs/7.idx");
	touch_file("runs/9.env");
	world_reopen(&w);
	ck_assert(file_exists(&w, "runs/7.log") && file_exists(&w, "runs/7.idx"));
	ck_assert(!file_exists(&w, "runs/9.env"));
	ck_assert_uint_eq(store_next_run(w.store), 10);
	world_reopen(&w);
	ck_assert_msg(store_next_run(w.store) == 10, "also when nothing of it is left");
}
END_TEST

START_TEST(dropped_output_that_a_crash_left_is_swept)
{
	struct answer a = { .n = 0 };
	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
	ck_assert_int_eq(add_run(&w, 2, NULL, 1), TXN_DONE);
	end_run(1, RUN_FAILED);
	end_run(2, RUN_SUCCEEDED);
	touch_file("runs/1.log");
	touch_file("runs/1.idx");
	touch_file("runs/2.log");
	struct txn *t = txn_new(answer_fill, &a);
	txn_drop(t, 1, DROPPED_BY_AGE, 5);
	commit_now(&w, t, &a);
	world_reopen(&w);
	ck_assert(!file_exists(&w, "runs/1.log") && !file_exists(&w, "runs/1.idx"));
	ck_assert(file_exists(&w, "runs/2.log"));
}
END_TEST

/* --- kill -9 --- */

/* Commits runs from..., writing each id to `fd` when it is durable. */
static void ack(void *arg, enum txn_status status, uint64_t existing _unused_,
		const struct err *e _unused_)
{
	uint64_t *pair = arg;

	if (status == TXN_DONE && write((int)pair[0], &pair[1], sizeof(pair[1])) != sizeof(pair[1]))
		_exit(1);
	free(pair);
}

static void submit_for_ever(int fd)
{
	uint64_t run;

	w.base = event_base_new();
	world_open(&w);
	for (run = store_next_run(w.store);; run++) {
		uint64_t *pair = xmalloc(2 * sizeof(*pair));
		struct run_row row = { .run = run };
		struct txn *t = txn_new(ack, pair);

		pair[0] = (uint64_t)fd;
		pair[1] = run;
		txn_run_new(t, &row, slice_str("b"), slice_of("A=1\0", 4));
		store_commit(w.store, t);
		event_base_loop(w.base, run % 7 ? EVLOOP_NONBLOCK : EVLOOP_ONCE);
	}
}

/* Lets a child commit until it has acknowledged `acks` runs, kills it, and returns the highest id
 * acknowledged. */
static uint64_t kill_after(int acks)
{
	uint64_t run, highest = 0;
	int p[2], n = 0;
	pid_t pid;

	ck_assert_int_eq(pipe2(p, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		close(p[0]);
		submit_for_ever(p[1]);
	}
	close(p[1]);
	while (read(p[0], &run, sizeof(run)) == sizeof(run)) {
		highest = run;
		if (++n == acks)
			kill(pid, SIGKILL);
	}
	close(p[0]);
	waitpid(pid, NULL, 0);
	ck_assert_int_ge(n, acks);
	return highest;
}

START_TEST(acknowledged_survives_kill)
{
	w.store = store_close(w.store);
	event_base_free(w.base);
	for (int round = 0; round < 12; round++) {
		uint64_t highest = kill_after(1 + round * 13);
		_cleanup_free_ char *env = xasprintf("runs/%llu.env", (unsigned long long)highest);

		w.base = event_base_new();
		world_open(&w);
		ck_assert_uint_gt(store_next_run(w.store), highest);
		ck_assert(world_has_run(&w, highest) && world_has_run(&w, 1));
		ck_assert(file_exists(&w, env));
		w.store = store_close(w.store);
		event_base_free(w.base);
	}
	w.base = event_base_new();
}
END_TEST

static void fill(Suite *s)
{
	TCase *t = tcase_create("all");

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, everything_is_private);
	tcase_add_test(t, a_second_batchd_is_told_who_has_it);
	tcase_add_test(t, a_folder_that_everyone_can_write_to_is_refused);
	tcase_add_loop_test(t, a_database_that_is_not_ours_is_refused, 0, ARRAY_SIZE(refused));
	tcase_add_test(t, ids_are_never_reused);
	tcase_add_test(t, a_reboot_is_noticed_until_marked);
	tcase_add_test(t, what_was_stored_is_loaded);
	tcase_add_test(t, an_ended_run_is_history_and_its_environment_is_gone);
	tcase_add_test(t, a_key_finds_its_first_run);
	tcase_add_test(t, answers_come_in_order);
	tcase_add_test(t, one_bad_transaction_harms_no_other);
	tcase_add_test(t, a_large_batch_is_brought_into_the_database_in_a_pause);
	tcase_add_test(t, logs_are_synced_before_results_once_a_run);
	tcase_add_test(t, forgetting_leaves_nothing);
	tcase_add_test(t, output_of_runs_to_come_is_kept_and_their_ids_are_given);
	tcase_add_test(t, dropped_output_that_a_crash_left_is_swept);
	tcase_add_test(t, what_a_crash_left_over_is_swept);
	tcase_add_test(t, acknowledged_survives_kill);
	suite_add_tcase(s, t);
}

int main(void)
{
	return world_run_suites("store", fill);
}
