#include "daemon/exec/output_pump.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "common/xalloc.h"
#include "daemon/exec/executor.h"

enum { PUMP_EVENTS = 256, PUMP_RETRY_MS = 1000, PUMP_PATIENCE_MS = 5000 };

/* --- mailbox --- */

int mailbox_init(struct mailbox *box)
{
	box->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (box->wake_fd < 0)
		return -errno;
	pthread_mutex_init(&box->lock, NULL);
	box->first = NULL;
	box->end = &box->first;
	return 0;
}

void mailbox_done(struct mailbox *box)
{
	close(box->wake_fd);
	pthread_mutex_destroy(&box->lock);
}

void mailbox_post(struct mailbox *box, struct msg *first, struct msg **end)
{
	pthread_mutex_lock(&box->lock);
	bool wake = !box->first;
	*box->end = first;
	box->end = end;
	pthread_mutex_unlock(&box->lock);
	int r = wake ? fd_wake(box->wake_fd) : 0;
	if (r < 0)
		log_error("cannot wake a thread: %s", errno_text(-r));
}

struct msg *mailbox_take(struct mailbox *box)
{
	eventfd_t count;
	if (eventfd_read(box->wake_fd, &count) < 0 && errno != EAGAIN)
		log_error("cannot read an eventfd: %s", errno_text(errno));
	pthread_mutex_lock(&box->lock);
	struct msg *first = box->first;
	box->first = NULL;
	box->end = &box->first;
	pthread_mutex_unlock(&box->lock);
	return first;
}

/* Handed to the loop at the end of the round, with one wake-up for all. */
static void pump_say(struct pump *p, struct msg *m, enum msg_kind kind)
{
	m->kind = kind;
	m->next = NULL;
	*p->done_end = m;
	p->done_end = &m->next;
}

static void pump_flush(struct pump *p)
{
	if (!p->done)
		return;
	mailbox_post(p->out, p->done, p->done_end);
	p->done = NULL;
	p->done_end = &p->done;
}

/* --- stalls --- */

/* Out of epoll explicitly: the spawner holds the same open file, so closing ours would not do it.
 */
static void pump_unwait(struct pump *p, struct output_fd *f)
{
	if (f->waiting)
		epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, f->fd, NULL);
	f->waiting = false;
}

static void run_stall(struct pump *p, struct output_run *run, int error)
{
	bool damaged = error == -EPROTO;
	const char *why = damaged ? "its .idx is damaged" : errno_text(-error);
	const char *mend = damaged ? "move its .idx and .log away" : trouble_mend(-error);
	trouble_say(TROUBLE_OUTPUT, 3 * PUMP_RETRY_MS,
		    "cannot write output of run %" PRIu64
		    " in '%s': %s: %s; its ops wait until that is mended",
		    run->id, p->dir, why, mend);
	if (!run->complained)
		log_warn("cannot write output of run %" PRIu64
			 " in '%s': %s: %s; its ops wait until that is mended",
			 run->id, p->dir, why, mend);
	run->complained = true;
	run->error = error;
	if (run->stalled)
		return;
	run->stalled = true;
	run->retry_at = time_mono_ms() + PUMP_RETRY_MS;
	list_add_tail(&p->stalled, &run->node);
	list_for (&run->open, node) {
		struct output_attempt *a = list_entry(node, struct output_attempt, node);
		pump_unwait(p, &a->fds[0]);
		pump_unwait(p, &a->fds[1]);
	}
}

/* --- attempts --- */

static void fd_end(struct pump *p, struct output_fd *f)
{
	if (f->fd < 0)
		return;
	pump_unwait(p, f);
	pthread_mutex_lock(&p->close_lock);
	close(f->fd);
	f->fd = -1;
	pthread_mutex_unlock(&p->close_lock);
}

static void attempt_end(struct pump *p, struct output_attempt *a)
{
	runlog_attempt_end(a->run->writer, &a->log);
	stage_close(a);
	list_del(&a->node);
	a->ended = true;
	pump_say(p, &a->drained, MSG_DRAINED);
}

static void attempt_send_early(struct pump *p, struct output_attempt *a)
{
	struct runlog_room room;
	if (runlog_early(a->run->writer, &a->log, &room) && early_is_free(&p->early)) {
		early_send(&p->early, room.fd, room.off, room.len);
		runlog_early_sent(a->run->writer);
	}
}

static void attempt_grew(struct pump *p, struct output_attempt *a, int64_t before)
{
	struct output_run *run = a->run;
	if (a->log.pos == before)
		return;
	attempt_send_early(p, a);
	if (stage_wanted(a, a->log.pos - before))
		pump_say(p, &a->staged, MSG_STAGE);
	if (run->complained && !run->stalled) {
		log_info("output of run %" PRIu64 " is written again", run->id);
		run->complained = false;
	}
	if (atomic_load_explicit(&run->watched, memory_order_relaxed) > 0 &&
	    !atomic_exchange(&a->grew_posted, true))
		pump_say(p, &a->grew, MSG_GREW);
}

/* Everything there is now; then it is over. -errno: it is not. */
static int attempt_finish(struct pump *p, struct output_attempt *a)
{
	for (int i = 0; i < 2; i++) {
		struct output_fd *f = &a->fds[i];
		if (f->fd < 0)
			continue;
		int64_t before = a->log.pos;
		int r = output_take_rest(p, f);
		attempt_grew(p, a, before);
		if (r < 0)
			return r;
		fd_end(p, f);
	}
	return 0;
}

static int attempt_wait(struct pump *p, struct output_attempt *a)
{
	for (int i = 0; i < 2; i++) {
		struct output_fd *f = &a->fds[i];
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = f };
		if (f->fd < 0 || f->waiting)
			continue;
		if (epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, f->fd, &event) < 0)
			return -errno;
		f->waiting = true;
	}
	return 0;
}

/* At the beginning, and again after a stall: whatever comes next for the attempt. */
static int attempt_go_on(struct pump *p, struct output_attempt *a)
{
	int r = 0;
	if (!a->begun) {
		r = runlog_attempt_begin(a->run->writer, &a->log, token_op(a->token),
					 token_attempt(a->token), a->cap);
		if (r < 0)
			return r;
		a->begun = true;
		a->skip = a->again ? a->log.stream_pos[0] : 0;
	}
	int64_t before = a->log.pos;
	r = output_take_stage(p, a);
	attempt_grew(p, a, before);
	if (r < 0)
		return r;
	if (a->finishing)
		r = attempt_finish(p, a);
	else if (!atomic_load(&a->finish_sent))
		r = attempt_wait(p, a);
	if (r == 0 && a->fds[0].fd < 0 && a->fds[1].fd < 0)
		attempt_end(p, a);
	return r;
}

/* Where the state folder takes nothing more, the end of the op finds no place there either. */
static bool error_is_of_file(int error)
{
	static const int others[] = { -ENOSPC, -EDQUOT, -EROFS, -ENOMEM, -EMFILE, -ENFILE };
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (error == others[i])
			return false;
	return true;
}

/* Its log does not take what is left in its pipes: is it time to end without? */
static bool attempt_is_late(struct output_attempt *a, int error)
{
	if (!error_is_of_file(error) || !atomic_load(&a->hurry) || !(a->finishing || a->again))
		a->patience_ms = 0;
	else if (a->patience_ms == 0)
		a->patience_ms = time_mono_ms() + PUMP_PATIENCE_MS;
	return a->patience_ms != 0 && time_mono_ms() >= a->patience_ms;
}

static void attempt_leave(struct pump *p, struct output_attempt *a)
{
	log_warn("op %" PRIu64 ".%u was told to end: what it printed last is given up", a->run->id,
		 token_op(a->token));
	a->left = true;
	fd_end(p, &a->fds[0]);
	fd_end(p, &a->fds[1]);
	attempt_end(p, a);
}

static void attempt_stall(struct pump *p, struct output_attempt *a, int error)
{
	if (attempt_is_late(a, error))
		attempt_leave(p, a);
	else
		run_stall(p, a->run, error);
}

static void attempt_try(struct pump *p, struct output_attempt *a)
{
	int r = a->run->stalled ? 0 : attempt_go_on(p, a);
	if (r < 0)
		attempt_stall(p, a, r);
}

static void pump_on_fd(struct pump *p, struct output_fd *f, uint32_t events)
{
	struct output_attempt *a = f->attempt;
	if (!f->waiting)
		return; /* ended or stalled earlier in this round */
	/* Of a pipe without writers we take all in one go; in the other modes only its own word
	 * says that it is at its end. */
	bool exact = !f->copy && a->skip == 0 && !f->held;
	int64_t before = a->log.pos;
	int r = 0;
	if (!exact || (events & EPOLLIN))
		r = output_take(p, f);
	attempt_grew(p, a, before);
	if (r < 0) {
		attempt_stall(p, a, r);
		return;
	}
	if (r == 0 && (!exact || f->copy || !(events & (EPOLLHUP | EPOLLERR))))
		return;
	fd_end(p, f);
	if (a->fds[0].fd < 0 && a->fds[1].fd < 0)
		attempt_end(p, a);
}

/* --- messages --- */

static void pump_attach(struct pump *p, struct output_attempt *a)
{
	if (!a->run->writer)
		a->run->writer = runlog_writer_new(p->dir, a->run->id);
	list_add_tail(&a->run->open, &a->node);
	attempt_try(p, a);
}

static void pump_finish(struct pump *p, struct output_attempt *a)
{
	if (a->ended) {
		pump_say(p, &a->finish, MSG_RELEASED);
		return;
	}
	a->finish_met = true;
	a->finishing = true;
	attempt_try(p, a);
}

static void pump_close_run(struct pump *p, struct close_run *c)
{
	struct output_run *run = c->run;
	run->writer = runlog_writer_free(run->writer);
	if (run->stalled)
		list_del(&run->node);
	run->stalled = run->complained = false;
	if (c->free)
		free(run);
	free(c);
	(void)p;
}

static void pump_messages(struct pump *p)
{
	struct msg *next;
	for (struct msg *m = mailbox_take(&p->in); m; m = next) {
		next = m->next;
		switch (m->kind) {
		case MSG_ATTACH:
			pump_attach(p, list_entry(m, struct output_attempt, attach));
			break;
		case MSG_FINISH:
			pump_finish(p, list_entry(m, struct output_attempt, finish));
			break;
		case MSG_CLOSE_RUN:
			pump_close_run(p, list_entry(m, struct close_run, msg));
			break;
		case MSG_GREW:
		case MSG_STAGE:
		case MSG_DRAINED:
		case MSG_RELEASED:
			break; /* not to us */
		}
	}
}

/* --- the thread --- */

static void run_retry(struct pump *p, struct output_run *run)
{
	list_del(&run->node);
	run->stalled = false;
	list_for_safe (&run->open, node) {
		struct output_attempt *a = list_entry(node, struct output_attempt, node);
		if (!run->stalled)
			attempt_try(p, a);
		else if (attempt_is_late(a, run->error))
			attempt_leave(p, a);
	}
}

static void pump_retry(struct pump *p)
{
	int64_t now = time_mono_ms();
	list_for_safe (&p->stalled, node) {
		struct output_run *run = list_entry(node, struct output_run, node);
		if (run->retry_at > now)
			return; /* they stand in the order of their times */
		run_retry(p, run);
	}
}

/* ms until the first stalled run is due; -1: none is. */
static int pump_timeout(const struct pump *p)
{
	if (list_empty(&p->stalled))
		return -1;
	int64_t left =
		list_entry(p->stalled.next, struct output_run, node)->retry_at - time_mono_ms();
	return (int)MAX2(left, 0);
}

static void *pump_thread(void *arg)
{
	struct pump *p = arg;
	struct epoll_event events[PUMP_EVENTS];
	while (!atomic_load(&p->stop)) {
		bool mail = false;
		int n = epoll_wait(p->epoll_fd, events, PUMP_EVENTS, pump_timeout(p));
		if (n < 0 && errno != EINTR) {
			log_error("cannot wait for output: %s", errno_text(errno));
			abort();
		}
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				pump_on_fd(p, events[i].data.ptr, events[i].events);
			else
				mail = true;
		}
		/* After the events: a message may end what an event of this round is about. */
		if (mail)
			pump_messages(p);
		pump_retry(p);
		pump_flush(p);
	}
	return NULL;
}

/* Signals are the loop's. */
static int pump_make_thread(struct pump *p)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	int r = pthread_create(&p->thread, NULL, pump_thread, p);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int pump_start(struct pump *p, const char *dir, struct mailbox *out)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	p->dir = dir;
	p->out = out;
	p->done = NULL;
	p->done_end = &p->done;
	list_init(&p->later);
	list_init(&p->stalled);
	int r = mailbox_init(&p->in);
	if (r < 0)
		return r;
	early_init(&p->early);
	pthread_mutex_init(&p->close_lock, NULL);
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	r = p->epoll_fd < 0 || epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, p->in.wake_fd, &event) < 0
		    ? -errno
		    : 0;
	if (r == 0)
		r = pump_make_thread(p);
	if (r < 0) {
		if (p->epoll_fd >= 0)
			close(p->epoll_fd);
		early_done(&p->early);
		pthread_mutex_destroy(&p->close_lock);
		mailbox_done(&p->in);
	}
	return r;
}

void pump_stop(struct pump *p)
{
	atomic_store(&p->stop, true);
	int r = fd_wake(p->in.wake_fd);
	if (r < 0)
		log_error("cannot wake a thread: %s", errno_text(-r));
	pthread_join(p->thread, NULL);
	early_done(&p->early);
	close(p->epoll_fd);
	pthread_mutex_destroy(&p->close_lock);
	mailbox_done(&p->in);
}
