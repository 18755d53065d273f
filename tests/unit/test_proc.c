/* What /proc tells of a process whose environment is empty, or seems so. */
#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/spawner/proc.h"

/* A child that has executed cat(1) with that environment, and reads from *ret_fd. */
static pid_t child_with(char *const *env, int *ret_fd)
{
	int in[2], out[2];
	char line[2];
	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[1]);
		execle("/bin/cat", "cat", (char *)NULL, env);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	ck_assert_int_eq(write(in[1], "x\n", 2), 2);
	ck_assert_int_eq(read(out[0], line, 2), 2); /* so it has executed it */
	close(out[0]);
	*ret_fd = in[1];
	return pid;
}

START_TEST(environment_of_its_own)
{
	char a[] = "A=1", *full[] = { a, NULL }, *none[] = { NULL };
	char *const *const envs[] = { full, none };
	const char *p;
	int fd;
	pid_t pid = child_with(envs[_i], &fd);
	ck_assert_int_eq(proc_environ(pid, &p), _i == 0 ? sizeof(a) : 0);
	/* One that is there was not when it was read as empty. */
	ck_assert(proc_may_execute(pid) == (_i == 0));
	close(fd);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert(!proc_may_execute(pid));
}
END_TEST

static void setup(void)
{
	ck_assert_int_eq(proc_init(), 0);
}

int main(void)
{
	Suite *s = suite_create("proc");
	TCase *t = tcase_create("environment");
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, environment_of_its_own, 0, 2);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
