#include "daemon/exec/output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/exec/executor.h"
#include "daemon/exec/idmap.h"
#include "daemon/exec/output_pump.h"

struct output {
	struct output_events events;
	char *dir;
	struct mailbox in; /* from the pumps */
	struct event *event;
	struct idmap attempts; /* by token, until drained was said */
	struct idmap runs;     /* by id */
	struct list all;       /* every attempt that is not freed */
	unsigned n_pumps;
	struct pump *pumps;
	struct event *later; /* what was put off goes out */
};

static void output_post(struct pump *p, struct msg *m, enum msg_kind kind)
{
	*m = (struct msg){ NULL, kind };
	mailbox_post(&p->in, m, &m->next);
}

/* --- what is put off --- */

/*
 * Ops are told to the pump when all that came with their start has been seen, which may be their
 * end: who has printed nothing by then needs no pump. Where the ops of a run print nothing, the
 * next ones are given some time for that.
 */
enum { QUIET_OPS = 16, QUIET_MS = 30 };

/* Onto a chain of messages for the pump; the new end of it. */
static struct msg **attempt_tell(struct output_attempt *a, struct msg **end)
{
	list_del(&a->later);
	a->run->opened = a->run->met = true;
	a->attach = (struct msg){ NULL, MSG_ATTACH };
	*end = &a->attach;
	return &a->attach.next;
}

static void pump_tell_due(struct pump *p, int64_t now_ms)
{
	struct msg *first = NULL, **end = &first;
	list_for_safe (&p->later, node) {
		struct output_attempt *a = list_entry(node, struct output_attempt, later);
		if (a->due_ms <= now_ms)
			end = attempt_tell(a, end);
	}
	if (first)
		mailbox_post(&p->in, first, end);
}

static void output_on_later(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	struct output *o = arg;
	int64_t now_ms = time_mono_ms();
	bool more = false;
	for (unsigned i = 0; i < o->n_pumps; i++) {
		pump_tell_due(&o->pumps[i], now_ms);
		more = more || !list_empty(&o->pumps[i].later);
	}
	if (more)
		event_add(o->later, &(struct timeval){ .tv_usec = QUIET_MS * 1000 });
}

/* --- runs --- */

static struct output_run *run_get(struct output *o, uint64_t id)
{
	struct output_run *run = idmap_ptr(&o->runs, id);
	if (run)
		return run;
	run = xcalloc(1, sizeof(*run));
	run->id = id;
	run->pump = &o->pumps[id % o->n_pumps];
	list_init(&run->open);
	list_init(&run->node);
	idmap_put(&o->runs, id, (uintptr_t)run);
	return run;
}

/* Lets go of what nobody needs: its files when it is over, itself when nobody watches either. */
static void run_settle(struct output *o, struct output_run *run)
{
	if (run->attempts > 0 || run->used)
		return;
	bool forget = run->watch <= 0;
	if (!forget && !run->opened)
		return;
	if (forget)
		idmap_del(&o->runs, run->id);
	if (!run->met) {
		free(run);
		return;
	}
	struct close_run *c = xcalloc(1, sizeof(*c));
	c->run = run;
	c->free = forget;
	run->opened = false;
	output_post(run->pump, &c->msg, MSG_CLOSE_RUN);
}

void output_run_done(struct output *o, uint64_t id)
{
	struct output_run *run = idmap_ptr(&o->runs, id);
	if (!run)
		return;
	run->used = false;
	run_settle(o, run);
}

static void run_tell(struct output_run *run)
{
	struct msg *first = NULL, **end = &first;
	list_for_safe (&run->pump->later, node) {
		struct output_attempt *a = list_entry(node, struct output_attempt, later);
		if (a->run == run)
			end = attempt_tell(a, end);
	}
	if (first)
		mailbox_post(&run->pump->in, first, end);
}

void output_watch(struct output *o, uint64_t id, int delta)
{
	if (delta < 0 && !idmap_ptr(&o->runs, id))
		return;
	struct output_run *run = run_get(o, id);
	run->watch += delta;
	atomic_store_explicit(&run->watched, run->watch, memory_order_relaxed);
	run_tell(run);
	run_settle(o, run);
}

/* --- attempts --- */

static void attempt_put_off(struct output *o, struct output_attempt *a)
{
	if (a->run->n_quiet < QUIET_OPS) {
		event_active(o->later, EV_TIMEOUT, 0);
		return;
	}
	a->due_ms = time_mono_ms() + QUIET_MS;
	if (!event_pending(o->later, EV_TIMEOUT, NULL))
		event_add(o->later, &(struct timeval){ .tv_usec = QUIET_MS * 1000 });
}

static void output_take_in(struct output *o, uint64_t token, const int fds[3], int64_t cap,
			   bool again)
{
	if (idmap_ptr(&o->attempts, token)) {
		for (int i = 0; i < 3; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		return;
	}
	struct output_attempt *a = xcalloc(1, sizeof(*a));
	a->token = token;
	a->cap = cap;
	a->again = again;
	a->fds[0] = (struct output_fd){ .attempt = a, .fd = fds[0], .stream = STREAM_STDOUT };
	a->fds[1] = (struct output_fd){ .attempt = a, .fd = fds[1], .stream = STREAM_STDERR };
	a->stage = (struct output_stage){ .in = -1, .out = fds[2] };
	a->run = run_get(o, token_run(token));
	a->run->attempts++;
	a->run->used = true;
	idmap_put(&o->attempts, token, (uintptr_t)a);
	list_add_tail(&o->all, &a->all);
	list_add_tail(&a->run->pump->later, &a->later);
	if (a->run->watch > 0 || again || fds[0] < 0)
		run_tell(a->run);
	else
		attempt_put_off(o, a);
}

void output_attach(struct output *o, uint64_t token, const int fds[3], int64_t cap)
{
	output_take_in(o, token, fds, cap, false);
}

void output_attach_again(struct output *o, uint64_t token, int stdout_fd, int64_t cap)
{
	output_take_in(o, token, (const int[3]){ stdout_fd, -1, -1 }, cap, true);
}

static void attempt_free(struct output_attempt *a)
{
	for (int i = 0; i < 2; i++) {
		if (a->fds[i].fd >= 0)
			close(a->fds[i].fd);
		free(a->fds[i].held);
	}
	cleanup_closep(&a->stage.in);
	cleanup_closep(&a->stage.out);
	runlog_attempt_forget(&a->log);
	list_del(&a->all);
	list_del(&a->later);
	free(a);
}

/* It is drained. */
static void attempt_forget(struct output *o, struct output_attempt *a)
{
	idmap_del(&o->attempts, a->token);
	a->run->attempts--;
	if (!a->finish_sent || a->finish_met)
		attempt_free(a);
}

/* Is there nothing to take that the pump has not heard of? Once it has, the fds are its own. */
static bool attempt_is_silent(const struct output_attempt *a)
{
	if (list_empty(&a->later))
		return false;
	struct pollfd p[2] = { { .fd = a->fds[0].fd, .events = POLLIN },
			       { .fd = a->fds[1].fd, .events = POLLIN } };
	return poll(p, 2, 0) >= 0 && !((p[0].revents | p[1].revents) & POLLIN);
}

void output_finish(struct output *o, uint64_t token)
{
	struct output_attempt *a = idmap_ptr(&o->attempts, token);
	if (!a) {
		output_attach(o, token, (const int[3]){ -1, -1, -1 }, 0);
		return;
	}
	if (a->finish_sent)
		return;
	a->finish_sent = true;
	struct msg *first = &a->finish, **end = &first;
	if (!list_empty(&a->later))
		end = attempt_tell(a, end);
	a->finish = (struct msg){ NULL, MSG_FINISH };
	*end = &a->finish;
	mailbox_post(&a->run->pump->in, first, &a->finish.next);
}

bool output_finish_silent(struct output *o, uint64_t token)
{
	struct output_attempt *a = idmap_ptr(&o->attempts, token);
	if (!a || !attempt_is_silent(a))
		return false;
	struct output_run *run = a->run;
	run->n_quiet++;
	attempt_forget(o, a);
	run_settle(o, run);
	return true;
}

void output_hurry(struct output *o, uint64_t token)
{
	struct output_attempt *a = idmap_ptr(&o->attempts, token);
	if (a)
		atomic_store(&a->hurry, true);
}

int output_dup(struct output *o, uint64_t token, int ret_fds[3])
{
	struct output_attempt *a = idmap_ptr(&o->attempts, token);
	int r = 0;
	ret_fds[0] = ret_fds[1] = ret_fds[2] = -1;
	if (!a)
		return 0;
	pthread_mutex_lock(&a->run->pump->close_lock);
	const int fds[3] = { a->fds[0].fd, a->fds[1].fd, a->stage.out };
	for (int i = 0; i < 3 && r == 0; i++)
		if (fds[i] >= 0) {
			ret_fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);
			r = ret_fds[i] < 0 ? -errno : 0;
		}
	pthread_mutex_unlock(&a->run->pump->close_lock);
	for (int i = 0; i < 3 && r < 0; i++) {
		if (ret_fds[i] >= 0)
			close(ret_fds[i]);
		ret_fds[i] = -1;
	}
	return r;
}

void output_stage_kept(struct output *o, uint64_t token, bool kept)
{
	struct output_attempt *a = idmap_ptr(&o->attempts, token);
	if (a)
		atomic_store_explicit(&a->stage.kept, kept, memory_order_release);
}

static void output_on_stage(struct output *o, struct output_attempt *a)
{
	int fds[3];
	if (!o->events.staged || output_dup(o, a->token, fds) < 0)
		return; /* without one it goes on as before */
	cleanup_closep(&fds[0]);
	cleanup_closep(&fds[1]);
	if (fds[2] >= 0)
		o->events.staged(o->events.arg, a->token, fds[2]);
}

static void output_on_drained(struct output *o, struct output_attempt *a)
{
	uint64_t token = a->token;
	struct output_run *run = a->run;
	struct output_totals totals = {
		.stdout_bytes = a->log.stream_pos[0],
		.stderr_bytes = a->log.stream_pos[1],
		.dropped_bytes = a->log.stream_drop[0] + a->log.stream_drop[1],
		.left = a->left,
	};
	run->n_quiet = totals.stdout_bytes + totals.stderr_bytes == 0 ? run->n_quiet + 1 : 0;
	attempt_forget(o, a);
	run_settle(o, run);
	o->events.drained(o->events.arg, token, &totals);
}

static void output_on_message(struct output *o, struct msg *m)
{
	struct output_attempt *a;
	switch (m->kind) {
	case MSG_GREW:
		a = list_entry(m, struct output_attempt, grew);
		atomic_store(&a->grew_posted, false);
		if (o->events.grew)
			o->events.grew(o->events.arg, a->token);
		break;
	case MSG_STAGE:
		output_on_stage(o, list_entry(m, struct output_attempt, staged));
		break;
	case MSG_DRAINED:
		output_on_drained(o, list_entry(m, struct output_attempt, drained));
		break;
	case MSG_RELEASED:
		attempt_free(list_entry(m, struct output_attempt, finish));
		break;
	case MSG_ATTACH:
	case MSG_FINISH:
	case MSG_CLOSE_RUN:
		break; /* not to us */
	}
}

static void output_on_event(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	struct output *o = arg;
	struct msg *next;
	for (struct msg *m = mailbox_take(&o->in); m; m = next) {
		next = m->next;
		output_on_message(o, m);
	}
}

/* --- the whole --- */

struct output *output_new(struct event_base *base, const char *runs_dir, unsigned pumps,
			  const struct output_events *events)
{
	struct output *o = xcalloc(1, sizeof(*o));
	o->events = *events;
	o->dir = xstrdup(runs_dir);
	list_init(&o->all);
	o->pumps = xcalloc(MAX2(pumps, 1), sizeof(*o->pumps));
	int r = mailbox_init(&o->in);
	o->later = event_new(base, -1, 0, output_on_later, o);
	if (r == 0) {
		o->event = event_new(base, o->in.wake_fd, EV_READ | EV_PERSIST, output_on_event, o);
		if (!o->event || event_priority_set(o->event, 0) < 0 ||
		    event_add(o->event, NULL) < 0)
			r = -ENOMEM;
	}
	while (r == 0 && o->n_pumps < MAX2(pumps, 1)) {
		r = pump_start(&o->pumps[o->n_pumps], o->dir, &o->in);
		o->n_pumps += r == 0;
	}
	if (o->n_pumps == 0) {
		log_error("cannot start the output threads: %s", errno_text(-r));
		abort();
	}
	return o;
}

const char *output_dir(const struct output *o)
{
	return o->dir;
}

/* Messages that nobody will read any more; only these own anything. */
static void output_discard(struct msg *m)
{
	struct msg *next;
	for (; m; m = next) {
		next = m->next;
		if (m->kind != MSG_CLOSE_RUN)
			continue;
		struct close_run *c = list_entry(m, struct close_run, msg);
		if (c->free) {
			runlog_writer_free(c->run->writer);
			free(c->run);
		}
		free(c);
	}
}

struct output *output_free(struct output *o)
{
	if (!o)
		return NULL;
	for (unsigned i = 0; i < o->n_pumps; i++) {
		pump_stop(&o->pumps[i]);
		output_discard(o->pumps[i].in.first);
	}
	event_free(o->event);
	event_free(o->later);
	mailbox_done(&o->in);
	list_for_safe (&o->all, node)
		attempt_free(list_entry(node, struct output_attempt, all));
	idmap_for(&o->runs, slot)
	{
		struct output_run *run = (struct output_run *)slot->word;
		runlog_writer_free(run->writer);
		free(run);
	}
	idmap_done(&o->runs);
	idmap_done(&o->attempts);
	free(o->pumps);
	free(o->dir);
	free(o);
	return NULL;
}
