/* The pool of threads: order, threads, what happens at the end. */
#include "daemon/exec/work.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/exec/idmap.h"

enum { JOBS = 20000 };

static struct event_base *base;
static pthread_t loop_thread;
static int order[JOBS], n_done, n_dones[JOBS];
static atomic_int n_run, ran_on_loop;
static struct work *pool;

struct job {
	int number;
	bool ran;
};
static struct job jobs[JOBS];

static void run(void *arg)
{
	struct job *j = arg;
	j->ran = true;
	atomic_fetch_add(&n_run, 1);
	if (pthread_equal(pthread_self(), loop_thread))
		atomic_fetch_add(&ran_on_loop, 1);
}

static void done(void *arg)
{
	struct job *j = arg;
	if (!pthread_equal(pthread_self(), loop_thread) || !j->ran)
		ck_abort();
	order[n_done++] = j->number;
	n_dones[j->number]++;
	if (n_done == JOBS)
		event_base_loopbreak(base);
}

static void setup(void)
{
	base = event_base_new();
	loop_thread = pthread_self();
	n_done = 0;
	n_run = ran_on_loop = 0;
	memset(n_dones, 0, sizeof(n_dones));
	for (int i = 0; i < JOBS; i++)
		jobs[i] = (struct job){ .number = i };
}

static void teardown(void)
{
	event_base_free(base);
}

START_TEST(test_all_once)
{
	unsigned threads = _i ? 4 : 1;
	pool = work_new(base, threads);
	for (int i = 0; i < JOBS; i++)
		work_submit(pool, run, done, &jobs[i]);
	event_base_dispatch(base);
	ck_assert_int_eq(n_done, JOBS);
	ck_assert_int_eq(ran_on_loop, 0);
	for (int i = 0; i < JOBS; i++)
		if (n_dones[i] != 1 || (threads == 1 && order[i] != i))
			ck_abort_msg("job %d", i);
	pool = work_free(pool);
	ck_assert_ptr_null(pool);
	ck_assert_ptr_null(work_free(NULL));
}
END_TEST

static void chain_done(void *arg)
{
	done(arg);
	if (n_done < 100)
		work_submit(pool, run, chain_done, &jobs[n_done]);
	else
		event_base_loopbreak(base);
}

/* A completion may submit. */
START_TEST(test_chain)
{
	pool = work_new(base, 2);
	work_submit(pool, run, chain_done, &jobs[0]);
	event_base_dispatch(base);
	ck_assert_int_eq(n_done, 100);
	work_free(pool);
}
END_TEST

static atomic_bool begun, let_go;
static atomic_int ended;

static void slow(void *arg)
{
	(void)arg;
	begun = true;
	while (!let_go)
		usleep(1000);
	usleep(20000);
	atomic_fetch_add(&ended, 1);
}

/* What was begun finishes, what was not does not begin, and no completion comes. */
START_TEST(test_free)
{
	pool = work_new(base, 1);
	work_submit(pool, slow, done, &jobs[0]);
	work_submit(pool, slow, done, &jobs[1]);
	while (!begun)
		usleep(1000);
	let_go = true;
	work_free(pool);
	ck_assert_int_eq(ended, 1);
	ck_assert_int_eq(n_done, 0);
}
END_TEST

/* The map against a plain array. */
START_TEST(test_idmap)
{
	static uintptr_t model[5000];
	struct idmap m = IDMAP_INIT;
	srand(77);
	ck_assert_uint_eq(idmap_get(&m, 3), 0);
	idmap_del(&m, 3);
	for (int i = 0; i < 400000; i++) {
		uint64_t key = (uint64_t)(rand() % 5000);
		uintptr_t word = rand() % 3 ? (uintptr_t)rand() + 1 : 0;
		uint64_t spread = key * 0x100000001u;
		idmap_put(&m, spread, word);
		model[key] = word;
		uint64_t other = (uint64_t)(rand() % 5000);
		if (idmap_get(&m, other * 0x100000001u) != model[other])
			ck_abort_msg("key %llu", (unsigned long long)other);
	}
	size_t n = 0, seen = 0;
	for (int i = 0; i < 5000; i++)
		n += model[i] != 0;
	idmap_for(&m, slot) seen++;
	ck_assert_uint_eq(m.n, n);
	ck_assert_uint_eq(seen, n);
	idmap_done(&m);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("work");
	TCase *t = tcase_create("work");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_all_once, 0, 2);
	tcase_add_test(t, test_chain);
	tcase_add_test(t, test_free);
	tcase_add_test(t, test_idmap);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
