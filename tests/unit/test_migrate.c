/* Migrations, on a history made for the test. */
#include <check.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/xalloc.h"
#include "daemon/store/migrate.h"
#include "proto/errors.h"
#include "store_world.h"

static const struct migration history[] = {
	{ "the first", "CREATE TABLE a(x); INSERT INTO a VALUES(1);" },
	{ "a column more", "ALTER TABLE a ADD COLUMN y DEFAULT 5; INSERT INTO a VALUES(2, 6);" },
	{ "a broken one", "CREATE TABLE b(x); INSERT INTO nowhere VALUES(1);" },
};

static char dir[64];
static char *path;
static struct sql sql;

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/batchd-migrate-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	path = xasprintf("%s/m.db", dir);
	fclose(fopen(path, "w"));
	ck_assert_int_eq(sql_open_writer(&sql, path, NULL), SQLITE_OK);
}

static void teardown(void)
{
	sql_close(&sql);
	free(path);
	world_remove(dir);
}

static int64_t version(void)
{
	return sql_int(&sql, "PRAGMA user_version", -1);
}

static bool has_backup(int v)
{
	_cleanup_free_ char *name = xasprintf("%s.v%d", path, v);

	return access(name, F_OK) == 0;
}

START_TEST(a_new_database_gets_all)
{
	struct err e = ERR_INIT;

	ck_assert_msg(migrate(&sql, path, history, 2, &e) == 0, "%s", e.text);
	ck_assert_int_eq(version(), 2);
	ck_assert_int_eq(sql_int(&sql, "PRAGMA application_id", 0), MIGRATE_APPLICATION_ID);
	ck_assert_int_eq(sql_int(&sql, "SELECT sum(y) FROM a", 0), 11);
	ck_assert_msg(!has_backup(0), "there was nothing to keep");
	ck_assert_int_eq(migrate(&sql, path, history, 2, &e), 0);
	ck_assert_int_eq(sql_int(&sql, "SELECT count(*) FROM a", 0), 2);
}
END_TEST

START_TEST(an_old_one_is_copied_and_upgraded)
{
	_cleanup_free_ char *backup = xasprintf("%s.v1", path);
	struct err e = ERR_INIT;
	struct sql old;

	ck_assert_int_eq(migrate(&sql, path, history, 1, &e), 0);
	ck_assert_int_eq(sql_exec(&sql, "INSERT INTO a VALUES(40)"), SQLITE_OK);
	/* Half a copy of an upgrade that was cut short. */
	fclose(fopen(backup, "w"));
	ck_assert_msg(migrate(&sql, path, history, 2, &e) == 0, "%s", e.text);
	ck_assert_int_eq(version(), 2);
	ck_assert_int_eq(sql_int(&sql, "SELECT sum(x) FROM a", 0), 43);
	ck_assert_int_eq(sql_open_reader(&old, backup, NULL), SQLITE_OK);
	ck_assert_int_eq(sql_int(&old, "PRAGMA user_version", -1), 1);
	ck_assert_int_eq(sql_int(&old, "SELECT sum(x) FROM a", 0), 41);
	sql_close(&old);
}
END_TEST

START_TEST(a_migration_that_fails_changes_nothing)
{
	struct err e = ERR_INIT;

	ck_assert_int_eq(migrate(&sql, path, history, 2, &e), 0);
	ck_assert_int_eq(migrate(&sql, path, history, 3, &e), 1);
	ck_assert_int_eq(e.sym, E_STORAGE);
	ck_assert_msg(strstr(e.text, "schema 3, a broken one: "), "%s", e.text);
	ck_assert_int_eq(version(), 2);
	ck_assert_int_eq(sql_int(&sql, "SELECT count(*) FROM sqlite_master WHERE name = 'b'", -1),
			 0);
	ck_assert(has_backup(2));
	ck_assert_int_eq(migrate(&sql, path, history, 2, &e), 0);
}
END_TEST

START_TEST(a_newer_one_is_refused)
{
	struct err e = ERR_INIT;

	ck_assert_int_eq(migrate(&sql, path, history, 2, &e), 0);
	ck_assert_int_eq(migrate(&sql, path, history, 1, &e), 1);
	ck_assert_msg(strstr(e.text, "has schema 2") && strstr(e.text, "up to 1"), "%s", e.text);
}
END_TEST

START_TEST(the_real_history_ends_at_its_length)
{
	struct err e = ERR_INIT;

	ck_assert_msg(migrate(&sql, path, migrations, n_migrations, &e) == 0, "%s", e.text);
	ck_assert_int_eq(version(), n_migrations);
	ck_assert_msg(sql_int(&sql, "PRAGMA auto_vacuum", -1) == 2,
		      "forgotten pages can be given back");
	ck_assert_int_eq(sql_int(&sql, "SELECT value FROM meta WHERE key = 'next_run'", -1), 1);
}
END_TEST

/* --- databases as earlier versions left them: tests/data/state-vN --- */

static void copy_in(const char *version, const char *name)
{
	_cleanup_free_ char *from = xasprintf(TEST_DATA "/state-v%s/%s", version, name);
	_cleanup_free_ char *to = xasprintf("%s/%s", dir, name);
	_cleanup_buf_ struct buf b = BUF_INIT;

	ck_assert_int_eq(fd_read_file(from, 1 << 22, &b), 0);
	int fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_eq(fd_write_all(fd, b.p, b.len), 0);
	close(fd);
}

static void old_runs(struct sql_reader *r, void *arg _unused_)
{
	_cleanup_buf_ struct buf strings = BUF_INIT, names = BUF_INIT;
	struct run_row row;
	struct err e = ERR_INIT;

	ck_assert_msg(sql_run_get(r, 1, &row, &strings, &e) == 0, "%s", e.text);
	ck_assert_str_eq(row.name, "old");
	ck_assert_int_eq(row.state, RUN_FAILED);
	ck_assert_int_gt(row.log_bytes, 0);
	ck_assert_int_eq(row.dropped, DROPPED_NOT);
	buf_clear(&strings);
	ck_assert_int_eq(sql_run_get(r, 2, &row, &strings, &e), 0);
	ck_assert_int_gt(row.log_bytes, 0);
	ck_assert_int_eq(sql_run_env_names(r, 1, &names, &e), 0);
	ck_assert_uint_eq(names.len, 0);
}

/* Also its output is measured, which that version did not do. */
START_TEST(schema_1_becomes_today_s)
{
	static const char *const files[] = { "batchd.db", "runs/1.log", "runs/1.idx", "runs/2.log",
					     "runs/2.idx" };
	_cleanup_free_ char *runs = xasprintf("%s/runs", dir);
	struct world w = { .store = NULL };

	ck_assert_int_eq(mkdir(runs, 0700), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		copy_in("1", files[i]);
	snprintf(w.dir, sizeof(w.dir), "%s", dir);
	w.base = event_base_new();
	world_open(&w);
	world_read(&w, old_runs, NULL);
	ck_assert_uint_eq(store_next_run(w.store), 4);
	ck_assert_int_gt(store_log_bytes(w.store), 0);
	ck_assert(file_exists(&w, "batchd.db.v1"));
	ck_assert(world_has_run(&w, 3));
	store_close(w.store);
	event_base_free(w.base);
}
END_TEST

static void fill(Suite *s)
{
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_new_database_gets_all);
	tcase_add_test(t, an_old_one_is_copied_and_upgraded);
	tcase_add_test(t, a_migration_that_fails_changes_nothing);
	tcase_add_test(t, a_newer_one_is_refused);
	tcase_add_test(t, the_real_history_ends_at_its_length);
	tcase_add_test(t, schema_1_becomes_today_s);
	suite_add_tcase(s, t);
}

int main(void)
{
	return world_run_suites("migrate", fill);
}
