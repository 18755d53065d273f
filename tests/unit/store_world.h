/* A store in a private folder, with what it answered, for the tests of the store. */
#ifndef TESTS_UNIT_STORE_WORLD_H
#define TESTS_UNIT_STORE_WORLD_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <event2/event.h>

#include "common/buf.h"
#include "common/fd.h"
#include "common/xalloc.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"

struct answer {
	int n; /* how often done was called */
	int order;
	enum txn_status status;
	uint64_t existing;
	struct err e;
};

struct world {
	char dir[64];
	struct event_base *base;
	struct store *store;
	int answers; /* so far */
	struct store_config config;
};

static inline int world_remove_one(const char *path, const struct stat *st _unused_,
				   int type _unused_, struct FTW *ftw _unused_)
{
	return remove(path);
}

static inline void world_remove(const char *dir)
{
	nftw(dir, world_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void world_open(struct world *w)
{
	struct err e = ERR_INIT;
	pid_t holder;

	w->config.state_dir = w->dir;
	w->config.base = w->base;
	ck_assert_msg(store_open(&w->config, &w->store, &holder, &e) == 0, "%s", e.text);
}

static inline void world_make_dir(struct world *w, const char *parent)
{
	*w = (struct world){ .store = NULL };
	snprintf(w->dir, sizeof(w->dir), "%s/batchd-store-XXXXXX",
		 access(parent, W_OK) == 0 ? parent : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(w->dir));
}

static inline void world_init_in(struct world *w, const char *parent)
{
	world_make_dir(w, parent);
	w->base = event_base_new();
	world_open(w);
}

static inline void world_init(struct world *w)
{
	world_init_in(w, "/tmp");
}

static inline void world_reopen(struct world *w)
{
	w->store = store_close(w->store);
	world_open(w);
}

static inline void world_done(struct world *w)
{
	store_close(w->store);
	event_base_free(w->base);
	world_remove(w->dir);
}

static int world_order; /* of all answers of the program */

static inline void answer_fill(void *arg, enum txn_status status, uint64_t existing,
			       const struct err *e)
{
	struct answer *a = arg;

	ck_assert_msg((e != NULL) == (status == TXN_FAILED), "an error exactly with TXN_FAILED");
	a->n++;
	a->order = ++world_order;
	a->status = status;
	a->existing = existing;
	if (e)
		a->e = *e;
}

static inline void commit(struct world *w, struct txn *t)
{
	store_commit(w->store, t);
}

/* Commits t, which answers into a, and waits for it. */
static inline void commit_now(struct world *w, struct txn *t, const struct answer *a)
{
	int before = a->n;

	store_commit(w->store, t);
	while (a->n == before)
		event_base_loop(w->base, EVLOOP_ONCE);
}

static inline struct txn *txn_of_run(struct answer *a, uint64_t run, const char *key,
				     unsigned digest)
{
	struct txn *t = txn_new(answer_fill, a);
	struct run_row row = { .run = run,
			       .key = key,
			       .cwd = "/w",
			       .project = "/w",
			       .created = 1000 + (int64_t)run,
			       .n_ops = 2,
			       .n_messages = 1 };

	memset(row.digest, (int)digest, sizeof(row.digest));
	txn_run_new(t, &row, slice_str("batch bytes"), slice_of("A=1\0B=2\0", 8));
	return t;
}

static inline enum txn_status add_run(struct world *w, uint64_t run, const char *key,
				      unsigned digest)
{
	struct answer a = { .n = 0 };

	commit_now(w, txn_of_run(&a, run, key, digest), &a);
	return a.status;
}

static inline bool file_exists(const struct world *w, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", w->dir, name);

	return access(path, F_OK) == 0;
}

static inline mode_t file_mode(const struct world *w, const char *name)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", w->dir, name);
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	return st.st_mode & 07777;
}

/* Runs fn(reader, arg) on the read thread and waits. */
static inline void world_read_done(void *arg)
{
	*(bool *)arg = true;
}

struct world_read {
	bool done; /* first, see world_read_done */
	void (*fn)(struct sql_reader *r, void *arg);
	void *arg;
};

static inline void world_read_fn(struct sql_reader *r, void *arg)
{
	struct world_read *read = arg;

	read->fn(r, read->arg);
}

static inline void world_read(struct world *w, void (*fn)(struct sql_reader *r, void *arg),
			      void *arg)
{
	struct world_read read = { .fn = fn, .arg = arg };

	store_read(w->store, world_read_fn, world_read_done, &read);
	while (!read.done)
		event_base_loop(w->base, EVLOOP_ONCE);
}

/* Ids of the stored runs that have not ended, in order. */
static inline int world_collect(void *arg, const struct store_run *run, struct err *e _unused_)
{
	buf_add(arg, &run->row.run, sizeof(run->row.run));
	return 0;
}

static inline bool world_has_run(struct world *w, uint64_t run)
{
	_cleanup_buf_ struct buf ids = BUF_INIT;
	struct err e = ERR_INIT;
	const uint64_t *p;

	ck_assert_msg(store_load_runs(w->store, world_collect, &ids, &e) == 0, "%s", e.text);
	p = (const void *)ids.p;
	for (size_t i = 0; i < ids.len / sizeof(*p); i++)
		if (p[i] == run)
			return true;
	return false;
}

static inline int world_run_suites(const char *name, void (*fill)(Suite *s))
{
	Suite *s = suite_create(name);
	SRunner *r;
	int failed;

	fill(s);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
