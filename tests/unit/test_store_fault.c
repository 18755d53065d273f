/* The store when the disk fails: what was acknowledged is there, what was refused is not, and it
 * goes on when the trouble is over. */
#include "store_world.h"

#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "fault_vfs.h"
#include "proto/errors.h"

/* Faults are ours to make: real fsyncs would only cost time. */
#define FAST_DIR "/dev/shm"

static struct world w;

static void setup(void)
{
	fault_install();
	fault_arm(0, 0, false);
	signal(SIGXFSZ, SIG_IGN);
	world_init_in(&w, FAST_DIR);
}

static void teardown(void)
{
	fault_arm(0, 0, false);
	world_done(&w);
}

/* --- a write, sync or truncate of SQLite that fails, at every place --- */

#define RUNS 12

/* Copies the database as a crash at this moment would leave it: without the shared memory. */
static void copy_file(const char *to_dir, const char *name)
{
	_cleanup_free_ char *from = xasprintf("%s/%s", w.dir, name),
			    *to = xasprintf("%s/%s", to_dir, name);
	_cleanup_buf_ struct buf b = BUF_INIT;
	FILE *f;

	if (fd_read_file(from, 1u << 28, &b) < 0)
		return;
	f = fopen(to, "w");
	ck_assert_uint_eq(fwrite(b.p, 1, b.len, f), b.len);
	fclose(f);
}

/*
 * What was acknowledged is there; what was refused is not, unless it `may` be: when the disk took
 * the bytes, failed to sync them and has taken no further ones with which to overwrite them, nobody
 * can unsay them before a crash.
 */
static void check_stored(struct world *of, const struct answer *a, int n, const char *when, int at,
			 bool may)
{
	for (int i = 0; i < n; i++) {
		bool done = a[i].status == TXN_DONE, stored = world_has_run(of, (uint64_t)i + 1);

		ck_assert_msg(stored || !done,
			      "%s, fault at call %d: run %d was acknowledged and is not stored",
			      when, at, i + 1);
		ck_assert_msg(!stored || done || may,
			      "%s, fault at call %d: run %d was refused and is stored", when, at,
			      i + 1);
	}
}

/* The folder as it is now, opened by another batchd after a crash. */
static void check_after_crash(const struct answer *a, int n, int at, bool may)
{
	int armed = atomic_exchange(&fault.at, 0), calls = atomic_load(&fault.calls);
	struct world crashed;

	world_make_dir(&crashed, FAST_DIR);
	copy_file(crashed.dir, "batchd.db");
	copy_file(crashed.dir, "batchd.db-wal");
	crashed.base = event_base_new();
	world_open(&crashed);
	check_stored(&crashed, a, n, "after a crash", at, may);
	world_done(&crashed);
	atomic_store(&fault.calls, calls);
	atomic_store(&fault.at, armed);
}

/* Runs in groups of one to three; false when the fault came no more. */
static bool one_fault(int at, int code, bool stays)
{
	struct answer a[RUNS];
	bool hit = false, crashed = false;

	memset(a, 0, sizeof(a));
	fault_arm(at, code, stays);
	for (int i = 0; i < RUNS; i++) {
		commit(&w, txn_of_run(&a[i], (uint64_t)i + 1, NULL, 1));
		if (i % 3 != 2 && i % 5 != 0 && i + 1 < RUNS)
			continue;
		store_drain(w.store);
		/* At once after the first refusal: a later commit would hide what it left behind.
		 */
		if (!crashed && (a[i].status == TXN_FAILED || i + 1 == RUNS)) {
			hit = atomic_load(&fault.calls) >= at;
			crashed = true;
			check_after_crash(a, i + 1, at, stays && code == SQLITE_IOERR_FSYNC);
		}
	}
	hit = hit || atomic_load(&fault.calls) >= at;
	fault_arm(0, 0, false);
	for (int i = 0; i < RUNS; i++) {
		_cleanup_free_ char *env = xasprintf("runs/%d.env", i + 1);

		ck_assert_int_eq(a[i].n, 1);
		ck_assert_msg(a[i].status == TXN_DONE || hit, "run %d failed without a fault: %s",
			      i + 1, a[i].e.text);
		ck_assert_msg(file_exists(&w, env) == (a[i].status == TXN_DONE),
			      "the environment goes with the run");
	}
	ck_assert_msg(add_run(&w, 100, NULL, 1) == TXN_DONE, "it goes on after the trouble");
	world_reopen(&w);
	check_stored(&w, a, RUNS, "opened again", at, false);
	return hit;
}

static const struct {
	const char *name;
	int code;
	bool stays;
} faults[] = {
	{ "fsync once", SQLITE_IOERR_FSYNC, false },
	{ "fsync from then on", SQLITE_IOERR_FSYNC, true },
	{ "write once", SQLITE_IOERR_WRITE, false },
	{ "full once", SQLITE_FULL, false },
	{ "full from then on", SQLITE_FULL, true },
};

START_TEST(a_fault_at_every_place)
{
	int at;

	for (at = 1; one_fault(at, faults[_i].code, faults[_i].stays); at++) {
		world_done(&w);
		world_init_in(&w, FAST_DIR);
	}
	ck_assert_msg(at > 12, "%s: only %d places", faults[_i].name, at);
}
END_TEST

START_TEST(a_failed_sync_is_not_repeated_as_if_nothing_was)
{
	struct answer a = { .n = 0 };

	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
	fault_arm(1, SQLITE_IOERR_FSYNC, true);
	commit_now(&w, txn_of_run(&a, 2, NULL, 1), &a);
	ck_assert_int_eq(a.status, TXN_FAILED);
	ck_assert_int_eq(a.e.sym, E_STORAGE);
	ck_assert_ptr_nonnull(strstr(a.e.text, "cannot store: disk I/O error"));
	fault_arm(0, 0, false);
	ck_assert_int_eq(add_run(&w, 2, NULL, 1), TXN_DONE);
	ck_assert(world_has_run(&w, 1) && world_has_run(&w, 2));
}
END_TEST

/* --- no room --- */

static void limit_file_size(rlim_t bytes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

START_TEST(files_may_not_grow)
{
	struct answer a = { .n = 0 };
	int stored = 0;

	limit_file_size(200 << 10);
	for (uint64_t i = 1; i < 1000; i++, stored++) {
		commit_now(&w, txn_of_run(&a, i, NULL, 1), &a);
		if (a.status != TXN_DONE)
			break;
	}
	ck_assert_int_gt(stored, 0);
	ck_assert_int_eq(a.status, TXN_FAILED);
	ck_assert_int_eq(a.e.sym, E_STORAGE);
	limit_file_size(RLIM_INFINITY);
	ck_assert_int_eq(add_run(&w, 2000, NULL, 1), TXN_DONE);
	for (int i = 1; i <= stored; i++)
		ck_assert(world_has_run(&w, (uint64_t)i));
	ck_assert(!world_has_run(&w, (uint64_t)stored + 1));
}
END_TEST

/* A tmpfs of our own; false where we may not mount. */
static bool mount_small(const char *dir)
{
	return mount("tmpfs", dir, "tmpfs", 0, "size=512k,mode=0700") == 0;
}

static struct txn *big_txn(struct answer *a, uint64_t run)
{
	static const char bytes[2 << 20];
	struct txn *t = txn_new(answer_fill, a);
	struct run_row row = { .run = run };

	txn_run_new(t, &row, slice_of(bytes, sizeof(bytes)), slice_of("A=1\0", 4));
	return t;
}

START_TEST(a_full_disk)
{
	struct answer small = { .n = 0 }, big = { .n = 0 }, later = { .n = 0 };

	w.store = store_close(w.store);
	if (!mount_small(w.dir)) {
		world_open(&w);
		return;
	}
	world_open(&w);
	commit(&w, txn_of_run(&small, 1, NULL, 1));
	commit(&w, big_txn(&big, 2));
	commit(&w, txn_of_run(&later, 3, NULL, 1));
	store_drain(w.store);
	ck_assert_int_eq(big.status, TXN_FAILED);
	ck_assert_msg(strstr(big.e.text, "database or disk is full") &&
			      strstr(big.e.text, "make room"),
		      "%s", big.e.text);
	ck_assert_msg(small.status == TXN_DONE, "the small one beside it has room: %s",
		      small.e.text);
	ck_assert_msg(later.status == TXN_DONE, "the one after it, too: %s", later.e.text);
	world_reopen(&w);
	ck_assert(world_has_run(&w, 1) && !world_has_run(&w, 2) && world_has_run(&w, 3));
	ck_assert(!file_exists(&w, "runs/2.env"));
	w.store = store_close(w.store);
	umount(w.dir);
	world_open(&w);
}
END_TEST

/* --- somebody else holds it --- */

START_TEST(a_database_locked_by_another_program)
{
	_cleanup_free_ char *path = xasprintf("%s/batchd.db", w.dir);
	struct answer a = { .n = 0 };
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
	commit_now(&w, txn_of_run(&a, 1, NULL, 1), &a);
	ck_assert_int_eq(a.status, TXN_FAILED);
	ck_assert_ptr_nonnull(strstr(a.e.text, "database is locked"));
	sqlite3_close(db);
	ck_assert_int_eq(add_run(&w, 1, NULL, 1), TXN_DONE);
}
END_TEST

START_TEST(an_environment_that_cannot_be_written)
{
	_cleanup_free_ char *in_the_way = xasprintf("%s/runs/1.env", w.dir);
	struct answer a = { .n = 0 }, beside = { .n = 0 };

	ck_assert_int_eq(mkdir(in_the_way, 0700), 0);
	commit(&w, txn_of_run(&a, 1, NULL, 1));
	commit(&w, txn_of_run(&beside, 2, NULL, 1));
	store_drain(w.store);
	ck_assert_int_eq(a.status, TXN_FAILED);
	ck_assert_msg(strstr(a.e.text, "environment of run 1"), "%s", a.e.text);
	ck_assert_int_eq(beside.status, TXN_DONE);
	ck_assert(!world_has_run(&w, 1));
}
END_TEST

static void fill(Suite *s)
{
	TCase *t = tcase_create("all");

	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_fault_at_every_place, 0, ARRAY_SIZE(faults));
	tcase_add_test(t, a_failed_sync_is_not_repeated_as_if_nothing_was);
	tcase_add_test(t, files_may_not_grow);
	tcase_add_test(t, a_full_disk);
	tcase_add_test(t, a_database_locked_by_another_program);
	tcase_add_test(t, an_environment_that_cannot_be_written);
	suite_add_tcase(s, t);
}

int main(void)
{
	return world_run_suites("store_fault", fill);
}
