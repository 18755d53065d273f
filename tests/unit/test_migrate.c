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

static void fill(Suite *s)
{
	TCase *t = tcase_create("all");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_new_database_gets_all);
	tcase_add_test(t, an_old_one_is_copied_and_upgraded);
	tcase_add_test(t, a_migration_that_fails_changes_nothing);
	tcase_add_test(t, a_newer_one_is_refused);
	tcase_add_test(t, the_real_history_ends_at_its_length);
	suite_add_tcase(s, t);
}

int main(void)
{
	return world_run_suites("migrate", fill);
}
