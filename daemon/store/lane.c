#include "daemon/store/lane.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include <event2/event.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"

struct lane {
	lane_fn work;
	lane_rest_fn rest;
	void *arg;
	pthread_t thread;
	int fd; /* an eventfd: something is in `finished` */
	struct event *event;

	/* For the thread: something waits that did not before, or stop. (A condition would take and
	 * mark the lock, which costs another system call.) */
	sem_t wake;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;  /* for lane_drain */
	struct list waiting, finished;
	bool busy, stop;
};

/* Moves all nodes of `from` to the end of `to`. */
static void lane_splice(struct list *to, struct list *from)
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	from->prev->next = to;
	to->prev->next = from->next;
	to->prev = from->prev;
	list_init(from);
}

static void lane_ring(struct lane *l)
{
	int r = fd_wake(l->fd);

	if (r < 0)
		log_error("cannot wake the loop: %s", errno_text(-r));
}

/* False: nothing came in so many ms (negative: for ever). */
static bool lane_sleep(struct lane *l, int64_t ms)
{
	int64_t until_ns = time_mono_ns() + ms * 1000000;
	struct timespec until = { .tv_sec = until_ns / 1000000000,
				  .tv_nsec = until_ns % 1000000000 };
	int r;

	do
		r = ms < 0 ? sem_wait(&l->wake) : sem_clockwait(&l->wake, CLOCK_MONOTONIC, &until);
	while (r < 0 && errno == EINTR);
	return r == 0;
}

/* All that waits. False: the lane is to end. */
static bool lane_take(struct lane *l, struct list *jobs)
{
	pthread_mutex_lock(&l->lock);
	lane_splice(jobs, &l->waiting);
	l->busy = !list_empty(jobs);
	bool more = l->busy || !l->stop;
	pthread_mutex_unlock(&l->lock);
	return more;
}

static void lane_finish(struct lane *l, struct list *jobs)
{
	pthread_mutex_lock(&l->lock);
	bool rung = !list_empty(&l->finished);
	lane_splice(&l->finished, jobs);
	l->busy = false;
	pthread_cond_broadcast(&l->idle);
	pthread_mutex_unlock(&l->lock);
	if (!rung) /* unlocked: who wakes up would only wait for the lock */
		lane_ring(l);
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	struct list jobs;
	int64_t rest_ms = -1;

	list_init(&jobs);
	for (;;) {
		bool idle = !lane_sleep(l, rest_ms);

		if (!idle && !lane_take(l, &jobs))
			return NULL;
		if (!idle) {
			l->work(l->arg, &jobs);
			lane_finish(l, &jobs);
		}
		rest_ms = l->rest ? l->rest(l->arg, idle) : -1;
	}
}

/* A done() may submit anew; what that finishes comes in another ring. */
static void lane_deliver(struct lane *l)
{
	struct list jobs;

	list_init(&jobs);
	pthread_mutex_lock(&l->lock);
	lane_splice(&jobs, &l->finished);
	pthread_mutex_unlock(&l->lock);
	while (!list_empty(&jobs)) {
		struct lane_job *job = list_entry(jobs.next, struct lane_job, node);

		list_del(&job->node);
		job->done(job);
	}
}

static void lane_on_ring(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	lane_deliver(arg);
}

/* The process's signals are for the loop thread alone. */
static int lane_spawn(struct lane *l)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&l->thread, NULL, lane_main, l);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static void lane_release(struct lane *l)
{
	if (l->event)
		event_free(l->event);
	if (l->fd >= 0)
		close(l->fd);
	pthread_cond_destroy(&l->idle);
	sem_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int lane_new(struct event_base *base, int priority, lane_fn work, lane_rest_fn rest, void *arg,
	     struct lane **ret)
{
	struct lane *l = xcalloc(1, sizeof(*l));
	int r = -ENOMEM;

	l->work = work;
	l->rest = rest;
	l->arg = arg;
	list_init(&l->waiting);
	list_init(&l->finished);
	pthread_mutex_init(&l->lock, NULL);
	sem_init(&l->wake, 0, 0);
	pthread_cond_init(&l->idle, NULL);
	l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->fd < 0) {
		r = -errno;
		goto fail;
	}
	/* Each ring is an edge: the count need not be read. */
	l->event = event_new(base, l->fd, EV_READ | EV_PERSIST | EV_ET, lane_on_ring, l);
	if (!l->event)
		goto fail;
	event_priority_set(l->event, priority);
	if (event_add(l->event, NULL) < 0)
		goto fail;
	r = lane_spawn(l);
	if (r < 0)
		goto fail;
	*ret = l;
	return 0;
fail:
	lane_release(l);
	return r;
}

struct lane *lane_free(struct lane *l)
{
	if (!l)
		return NULL;
	lane_drain(l);
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_mutex_unlock(&l->lock);
	sem_post(&l->wake);
	pthread_join(l->thread, NULL);
	lane_deliver(l);
	lane_release(l);
	return NULL;
}

void lane_submit(struct lane *l, struct lane_job *job)
{
	pthread_mutex_lock(&l->lock);
	bool woken = !list_empty(&l->waiting);
	list_add_tail(&l->waiting, &job->node);
	pthread_mutex_unlock(&l->lock);
	if (!woken)
		sem_post(&l->wake);
}

/* done()s may submit anew, hence the loop: it ends when a round found nothing to deliver and
 * nothing under way. */
void lane_drain(struct lane *l)
{
	bool more;

	do {
		pthread_mutex_lock(&l->lock);
		while (!list_empty(&l->waiting) || l->busy)
			pthread_cond_wait(&l->idle, &l->lock);
		more = !list_empty(&l->finished);
		pthread_mutex_unlock(&l->lock);
		lane_deliver(l);
	} while (more);
}

bool lane_idle(struct lane *l)
{
	bool idle;

	pthread_mutex_lock(&l->lock);
	idle = list_empty(&l->waiting) && list_empty(&l->finished) && !l->busy;
	pthread_mutex_unlock(&l->lock);
	return idle;
}
