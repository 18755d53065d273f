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
	int r = config_read(c, path, e);
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
	{ "slots = 4\nslotz = 3\n", ":2: slotz: unknown setting" },
	{ "slots\n", ":1: 'slots': must be name = value" },
	{ "slots = many", "slots: must be a whole number" },
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

int main(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("all");
	tcase_add_test(t, all_settings);
	tcase_add_loop_test(t, refused, 0, sizeof(wrong) / sizeof(wrong[0]));
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
