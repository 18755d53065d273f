/* batchd.conf: every setting, and what is refused where. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/config.h"

static int read_text(struct config *c, const char *text, struct err *e)
{
	char path[] = "/tmp/batchd-test-conf-XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	config_init(c);
	int r = config_read(c, path, true, e);
	unlink(path);
	return r;
}

START_TEST(all_settings)
{
	struct config c;
	struct err e = ERR_INIT;
	int r = read_text(
		&c,
		"# a comment\n\nslots = 4\ngroup.build=2\noutput_cap = 1M\ngrace = 2s\ndrain = 1m\n"
		"keep_output = 1d\nkeep_output_bytes = 1G\nkeep_rows = 30d\nmax_frame = 1M\n"
		"shell = /bin/sh\nlog_level = debug",
		&e);
	ck_assert_msg(r == 0, "%s", e.text);
	ck_assert_int_eq(c.slots, 4);
	ck_assert_uint_eq(c.n_groups, 1);
	ck_assert_str_eq(c.groups[0].name, "build");
	ck_assert_int_eq(c.output_cap, 1 << 20);
	ck_assert_int_eq(c.grace_ms, 2000);
	ck_assert_int_eq(c.keep_output_bytes, 1 << 30);
	ck_assert_str_eq(c.shell, "/bin/sh");
	config_done(&c);
}
END_TEST

static const struct {
	const char *text, *says;
} wrong[] = {
	{ "slots = 4\nslotz = 3\n", ":2: slotz: unknown setting (did you mean 'slots'?)" },
	{ "\n# x\nkeep_outputs = 3\n",
	  ":3: keep_outputs: unknown setting (did you mean 'keep_output'" },
	{ "groups.a = 3", "groups.a: unknown setting (did you mean 'group.NAME'?)" },
	{ "quux = 1", "quux: unknown setting: see batchd.conf(5)" },
	{ "slots\n", ":1: 'slots': must be name = value" },
	{ "= 4", ":1: : unknown setting" },
	{ "slots = many", "slots: must be a whole number" },
	{ "slots = 0", "slots: must be a whole number from 1 to 65535, not '0'" },
	{ "slots = 65536", "slots: must be a whole number from 1 to 65535, not '65536'" },
	{ "slots =", "slots: must be a whole number" },
	{ "slots = 4 # four", "slots: must be a whole number" },
	{ "slots = 1\n\nslots = 2", ":3: slots: given before, in line 1" },
	{ "group.a = 1\ngroup.b = 1\ngroup.a = 1", ":3: group.a: given before, in line 1" },
	{ "group. = 1", "group.: must be group.NAME = SLOTS" },
	{ "group.12 = 1", "group.12: the pool's name: '12' must not be a number" },
	{ "group.a.b = 1", "must not hold '.'" },
	{ "group.all = 1", "'all' has a meaning of its own" },
	{ "group.default = 1", "group.default: the default pool's size is `slots`" },
	{ "grace = -1s", "grace: must be a duration" },
	{ "output_cap = -1", "output_cap: must be a size" },
	{ "output_cap = K", "output_cap: must be a size" },
	{ "keep_output_bytes = 9999999999G", "keep_output_bytes: must be a size" },
	{ "shell =", "shell: must name a shell" },
	{ "max_frame = 65M", "max_frame: must be between 4096 and 67108864, not '65M'" },
	{ "grace = 5 parsecs", "grace: must be a duration" },
	{ "output_cap = 1T", "output_cap: must be a size" },
	{ "group.x = 0", "group.x: must be group.NAME = SLOTS" },
	{ "log_level = loud", "log_level: must be error, warn, info or debug" },
	{ "max_frame = 1", "max_frame: must be between" },
};

START_TEST(refused)
{
	struct config c;
	struct err e = ERR_INIT;
	ck_assert_int_ne(read_text(&c, wrong[_i].text, &e), 0);
	ck_assert_msg(strstr(e.text, wrong[_i].says) != NULL, "%s", e.text);
	config_done(&c);
}
END_TEST

START_TEST(a_file_that_is_not_there)
{
	struct config c;
	struct err e = ERR_INIT;
	config_init(&c);
	ck_assert_int_eq(config_read(&c, "/nowhere/batchd.conf", false, &e), 0);
	ck_assert_int_ne(config_read(&c, "/nowhere/batchd.conf", true, &e), 0);
	ck_assert_str_eq(e.text, "cannot read '/nowhere/batchd.conf': no such file or directory");
	config_done(&c);
}
END_TEST

START_TEST(no_text)
{
	struct config c;
	struct err e = ERR_INIT;
	char path[] = "/tmp/batchd-test-conf-XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_eq(write(fd, "slots = 1\0\n", 11), 11);
	close(fd);
	config_init(&c);
	ck_assert_int_ne(config_read(&c, path, true, &e), 0);
	ck_assert_msg(strstr(e.text, ":1: is no text"), "%s", e.text);
	unlink(path);
	config_done(&c);
}
END_TEST

START_TEST(what_differs)
{
	static const char *const expect[][3] = {
		{ "slots", "4", "" },		{ "grace", "5s", "1500ms" },
		{ "keep_output", "14d", "0s" }, { "keep_output_bytes", "2G", "1536K" },
		{ "shell", "/bin/sh", "bash" }, { "log_level", "info", "debug" },
		{ "group.gone", "2", "" },	{ "group.kept", "3", "5" },
		{ "group.new", "", "7" },
	};
	struct config a, b;
	struct config_diff d = CONFIG_DIFF_INIT;
	struct err e = ERR_INIT;
	ck_assert_int_eq(
		read_text(
			&a,
			"slots = 4\nshell = /bin/sh\ngroup.gone = 2\ngroup.kept = 3\ngroup.same = 1",
			&e),
		0);
	ck_assert_int_eq(read_text(&b,
				   "grace = 1.5s\nkeep_output = 0\nkeep_output_bytes = 1536K\n"
				   "log_level = debug\ngroup.new = 7\ngroup.kept = 5\n"
				   "group.same = 1\nmax_frame = 64M",
				   &e),
			 0);
	config_diff(&a, &b, &d);
	ck_assert_uint_eq(d.n, sizeof(expect) / sizeof(expect[0]));
	for (size_t i = 0; i < d.n; i++)
		for (size_t k = 0; k < 3; k++)
			ck_assert_str_eq(d.texts[i * 3 + k], expect[i][k]);
	config_diff_done(&d);
	config_diff(&a, &a, &d);
	ck_assert_uint_eq(d.n, 0);
	config_diff_done(&d);
	config_done(&a);
	config_done(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("all");
	tcase_add_test(t, all_settings);
	tcase_add_test(t, a_file_that_is_not_there);
	tcase_add_test(t, no_text);
	tcase_add_test(t, what_differs);
	tcase_add_loop_test(t, refused, 0, sizeof(wrong) / sizeof(wrong[0]));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
