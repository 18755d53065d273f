#include "daemon/store/keep.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/list.h"
#include "common/log.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/store/sql_keep.h"
#include "daemon/store/store.h"
#include "proto/errors.h"

#define RETRY_MS 10000

/* A call of keeper_forget. */
struct forget {
	struct list node;
	struct buf runs, stay;
	size_t at; /* of runs: the next one to forget */
	uint32_t forgotten;
	bool strict, wiping; /* wiping: with the commit under way the last of it goes */
	keeper_forgot_fn done;
	void *arg;
};

struct keeper {
	struct keep_config c;
	int fd; /* timerfd on the wall clock */
	struct event *event;
	int64_t due_ms;	      /* what it is set to; INT64_MAX: nothing */
	int64_t ended_due_ms; /* of runs that ended during the round */
	struct list forgets;
	bool busy;    /* a round is under way */
	bool again;   /* and another is wanted after it */
	bool blocked; /* something due is needed by a run: when one ends, look again */
	bool quiet, rescued;
	int64_t spare_pages; /* as they were a round ago */

	/* the round's */
	struct keep_ask ask;
	struct keep_found found;
	struct err err;
	struct buf going;   /* runs that the commit forgets */
	struct buf dropped; /* runs whose output it drops */
};

static void round_start(struct keeper *k);

/* --- the timer --- */

/* Absolute and on the wall clock: what is due in a fortnight is due then, also where the machine
 * sleeps meanwhile. */
static void timer_set(struct keeper *k, int64_t due_ms)
{
	struct itimerspec t = { 0 };

	if (due_ms == k->due_ms)
		return;
	k->due_ms = due_ms;
	if (due_ms != INT64_MAX) {
		t.it_value.tv_sec = due_ms / 1000;
		t.it_value.tv_nsec = due_ms % 1000 * 1000000 + 1; /* 0, 0 would be never */
	}
	if (timerfd_settime(k->fd, TFD_TIMER_ABSTIME, &t, NULL) < 0)
		log_warn("cannot set a timer for what is to be forgotten: %s", strerror(errno));
}

static void on_timer(evutil_socket_t fd, short what _unused_, void *arg)
{
	struct keeper *k = arg;
	uint64_t times;

	if (read(fd, &times, sizeof(times)) != sizeof(times))
		return;
	k->due_ms = INT64_MAX;
	round_start(k);
}

/* --- those who asked --- */

static void forget_end(struct forget *f, const struct err *err)
{
	list_del(&f->node);
	f->done(f->arg, f->forgotten, &f->stay, err);
	buf_done(&f->runs);
	buf_done(&f->stay);
	free(f);
}

static uint64_t forget_next(const struct forget *f)
{
	uint64_t run;

	memcpy(&run, f->runs.p + f->at * sizeof(run), sizeof(run));
	return run;
}

static bool forget_done(const struct forget *f)
{
	return f->at * sizeof(uint64_t) >= f->runs.len;
}

/* --- a round, from its end to its beginning --- */

static void round_end(struct keeper *k, int64_t due_ms)
{
	k->busy = false;
	timer_set(k, MIN2(due_ms, k->ended_due_ms));
	if (k->again)
		round_start(k);
}

/* Done, or tried again in a while; who asked is not kept waiting. */
static void round_failed(struct keeper *k, const struct err *err)
{
	log_warn("what is to be forgotten stays for now: %s", err->text);
	list_for_safe (&k->forgets, node)
		forget_end(list_entry(node, struct forget, node), err);
	buf_clear(&k->going);
	buf_clear(&k->dropped);
	k->rescued = k->again = false;
	round_end(k, time_wall_ms() + RETRY_MS);
}

static void tell_removed(struct keeper *k, const struct buf *runs)
{
	const uint64_t *run = (const void *)runs->p;

	for (size_t i = 0; i < runs->len / sizeof(*run); i++)
		k->c.removed(k->c.arg, run[i]);
}

static void round_removed(void *arg)
{
	struct keeper *k = arg;

	tell_removed(k, &k->going);
	tell_removed(k, &k->dropped);
	buf_clear(&k->going);
	buf_clear(&k->dropped);
	list_for_safe (&k->forgets, node) {
		struct forget *f = list_entry(node, struct forget, node);
		if (f->wiping)
			forget_end(f, NULL);
	}
	k->busy = false;
	round_start(k);
}

static void remove_files(struct keeper *k, void (*done)(void *arg), void *arg)
{
	_cleanup_buf_ struct buf runs = BUF_INIT;

	buf_addslice(&runs, buf_slice(&k->going));
	buf_addslice(&runs, buf_slice(&k->dropped));
	store_remove_files(k->c.store, (const void *)buf_str(&runs), runs.len / sizeof(uint64_t),
			   done, arg);
}

struct round {
	struct keeper *k;
	struct txn *txn;
};

static void rescue_commit(void *arg)
{
	struct round *r = arg;

	if (!r->k->quiet) {
		store_commit(r->k->c.store, r->txn);
		return;
	}
	txn_free(r->txn);
	free(r);
}

static void round_committed(void *arg, enum txn_status status, uint64_t existing _unused_,
			    const struct err *err)
{
	struct round *r = arg;
	struct keeper *k = r->k;

	/* The disk may be full of what is to go: its files first, then the same once more. */
	if (status != TXN_DONE && !k->rescued && !k->quiet && k->going.len + k->dropped.len) {
		txn_keep(r->txn);
		k->rescued = true;
		remove_files(k, rescue_commit, r);
		return;
	}
	free(r);
	if (k->quiet)
		return;
	if (status != TXN_DONE) {
		round_failed(k, err);
		return;
	}
	k->rescued = false;
	if (k->going.len + k->dropped.len)
		remove_files(k, round_removed, k);
	else
		round_removed(k);
}

static void add_drops(struct keeper *k, struct txn *t, const struct buf *runs, enum run_dropped why)
{
	const uint64_t *run = (const void *)runs->p;

	for (size_t i = 0; i < runs->len / sizeof(*run); i++)
		txn_drop(t, run[i], why, k->ask.now_ms);
	buf_addslice(&k->dropped, buf_slice(runs));
}

static void add_forget(struct keeper *k, struct txn *t, uint64_t run)
{
	txn_forget(t, run);
	buf_add(&k->going, &run, sizeof(run));
}

/* False: the request is over, it named what is needed. */
static bool add_asked(struct keeper *k, struct txn *t, struct forget *f, const struct buf *needed)
{
	for (; !forget_done(f) && k->going.len < KEEP_STEP * sizeof(uint64_t); f->at++) {
		uint64_t run = forget_next(f), by = keep_needed_by(needed, run);

		if (by && f->strict) {
			struct err e = ERR_INIT;
			err_set(&e, E_STATE,
				"run %" PRIu64 " is needed by run %" PRIu64
				", which has not begun: cancel that or let it begin first",
				run, by);
			forget_end(f, &e);
			return false;
		}
		if (by)
			buf_add(&f->stay, &run, sizeof(run));
		if (by || keeper_is_going(k, run))
			continue;
		add_forget(k, t, run);
		f->forgotten++;
	}
	return true;
}

/* Whether somebody can be answered after this commit: all of theirs is forgotten and deleted. */
static bool add_wipe(struct keeper *k)
{
	bool any = false;

	if (k->found.gone || k->going.len)
		return false;
	list_for (&k->forgets, node) {
		struct forget *f = list_entry(node, struct forget, node);
		any |= f->wiping = forget_done(f);
	}
	return any;
}

/* Whether deleting has room to give back, and the last try gave some. */
static bool add_vacuum(struct keeper *k)
{
	int64_t before = k->spare_pages;

	k->spare_pages = k->found.spare_pages;
	return k->spare_pages > 0 && (before == 0 || k->spare_pages < before);
}

static void round_fill(struct keeper *k, struct txn *t)
{
	const struct keep_found *f = &k->found;
	_cleanup_buf_ struct buf needed = BUF_INIT;
	const uint64_t *run = (const void *)f->forget.p;

	k->c.needed(k->c.arg, &needed);
	for (size_t i = 0; i < f->forget.len / sizeof(*run); i++)
		if (!keep_needed_by(&needed, run[i]))
			add_forget(k, t, run[i]);
	list_for_safe (&k->forgets, node)
		add_asked(k, t, list_entry(node, struct forget, node), &needed);
	add_drops(k, t, &f->by_age, DROPPED_BY_AGE);
	add_drops(k, t, &f->by_size, DROPPED_BY_SIZE);
	bool vacuum = add_vacuum(k), wipe = add_wipe(k);
	if (f->gone || k->going.len || vacuum || wipe)
		txn_tidy(t, wipe);
}

static void round_chosen(void *arg)
{
	struct keeper *k = arg;
	struct round *r;

	if (k->quiet)
		return;
	if (k->err.sym) {
		round_failed(k, &k->err);
		return;
	}
	r = xmalloc(sizeof(*r));
	*r = (struct round){ .k = k, .txn = txn_new(round_committed, r) };
	round_fill(k, r->txn);
	if (!txn_empty(r->txn)) {
		store_commit(k->c.store, r->txn);
		return;
	}
	txn_free(r->txn);
	free(r);
	k->blocked = k->found.blocked;
	round_end(k, k->found.next_ms);
}

static void round_choose(struct sql_reader *reader, void *arg)
{
	struct keeper *k = arg;

	if (sql_keep_choose(reader, &k->ask, &k->found, &k->err) && !k->err.sym)
		k->err.sym = E_INTERNAL;
}

static void round_start(struct keeper *k)
{
	k->again = k->busy;
	if (k->busy || k->quiet)
		return;
	k->busy = true;
	k->ended_due_ms = INT64_MAX;
	k->err = (struct err)ERR_INIT;
	k->ask.limits = k->c.limits;
	k->ask.now_ms = time_wall_ms();
	k->ask.log_bytes = store_log_bytes(k->c.store);
	buf_clear(&k->ask.needed);
	k->c.needed(k->c.arg, &k->ask.needed);
	store_read(k->c.store, round_choose, round_chosen, k);
}

/* --- from outside --- */

void keeper_run_ended(struct keeper *k)
{
	const struct keep_limits *l = &k->c.limits;
	int64_t now = time_wall_ms(), due = INT64_MAX;

	if (k->blocked || (l->output_bytes && store_log_bytes(k->c.store) > l->output_bytes)) {
		round_start(k);
		return;
	}
	if (l->output_ms)
		due = keep_due(now, l->output_ms);
	if (l->rows_ms)
		due = MIN2(due, keep_due(now, l->rows_ms));
	if (k->busy)
		k->ended_due_ms = MIN2(k->ended_due_ms, due);
	else if (due < k->due_ms)
		timer_set(k, due);
}

void keeper_set_limits(struct keeper *k, const struct keep_limits *limits)
{
	k->c.limits = *limits;
	round_start(k);
}

bool keeper_is_going(const struct keeper *k, uint64_t run)
{
	const uint64_t *p = (const void *)k->going.p;

	for (size_t i = 0; i < k->going.len / sizeof(*p); i++)
		if (p[i] == run)
			return true;
	return false;
}

void keeper_forget(struct keeper *k, struct buf *runs, bool strict, keeper_forgot_fn done,
		   void *arg)
{
	struct forget *f = xcalloc(1, sizeof(*f));

	f->runs = *runs;
	*runs = (struct buf)BUF_INIT;
	f->strict = strict;
	f->done = done;
	f->arg = arg;
	list_add_tail(&k->forgets, &f->node);
	if (k->quiet)
		keeper_quiet(k);
	else
		round_start(k);
}

void keeper_quiet(struct keeper *k)
{
	struct err e = ERR_INIT;

	if (!k)
		return;
	k->quiet = true;
	err_set(&e, E_STATE, "the daemon is stopping");
	list_for_safe (&k->forgets, node)
		forget_end(list_entry(node, struct forget, node), &e);
}

struct keeper *keeper_new(const struct keep_config *config, struct err *e)
{
	struct keeper *k = xcalloc(1, sizeof(*k));

	k->c = *config;
	k->due_ms = INT64_MAX;
	list_init(&k->forgets);
	k->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (k->fd >= 0)
		k->event = event_new(k->c.base, k->fd, EV_READ | EV_PERSIST, on_timer, k);
	if (!k->event || event_add(k->event, NULL) < 0) {
		err_set(e, E_INTERNAL, "cannot make a timer: %s", strerror(errno));
		return keeper_free(k);
	}
	round_start(k);
	return k;
}

struct keeper *keeper_free(struct keeper *k)
{
	if (!k)
		return NULL;
	if (k->event)
		event_free(k->event);
	if (k->fd >= 0)
		close(k->fd);
	keep_found_done(&k->found);
	buf_done(&k->ask.needed);
	buf_done(&k->going);
	buf_done(&k->dropped);
	free(k);
	return NULL;
}
