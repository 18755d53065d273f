#include "daemon/store/lane.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include <event2/event.h>

#include "common/xalloc.h"

struct lane {
	lane_fn work;
	void *arg;
	pthread_t thread;
	int fd; /* an eventfd: something is in `finished` */
	struct event *event;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;  /* for the thread: something waits, or stop */
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
	uint64_t one = 1;
	ssize_t n;

	/* EAGAIN would mean 2^64 unread rings: the reader is awake then. */
	do
		n = write(l->fd, &one, sizeof(one));
	while (n < 0 && errno == EINTR);
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	struct list jobs;

	list_init(&jobs);
	pthread_mutex_lock(&l->lock);
	for (;;) {
		while (list_empty(&l->waiting) && !l->stop)
			pthread_cond_wait(&l->wake, &l->lock);
		if (list_empty(&l->waiting))
			break;
		lane_splice(&jobs, &l->waiting);
		l->busy = true;
		pthread_mutex_unlock(&l->lock);
		l->work(l->arg, &jobs);
		pthread_mutex_lock(&l->lock);
		bool rung = !list_empty(&l->finished);
		lane_splice(&l->finished, &jobs);
		l->busy = false;
		pthread_cond_broadcast(&l->idle);
		if (!rung) { /* unlocked: who wakes up would only wait for the lock */
			pthread_mutex_unlock(&l->lock);
			lane_ring(l);
			pthread_mutex_lock(&l->lock);
		}
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
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

static void lane_on_ring(evutil_socket_t fd, short what _unused_, void *arg)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
		return;
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
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int lane_new(struct event_base *base, lane_fn work, void *arg, struct lane **ret)
{
	struct lane *l = xcalloc(1, sizeof(*l));
	int r = -ENOMEM;

	l->work = work;
	l->arg = arg;
	list_init(&l->waiting);
	list_init(&l->finished);
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->wake, NULL);
	pthread_cond_init(&l->idle, NULL);
	l->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->fd < 0) {
		r = -errno;
		goto fail;
	}
	l->event = event_new(base, l->fd, EV_READ | EV_PERSIST, lane_on_ring, l);
	if (!l->event)
		goto fail;
	event_priority_set(l->event, 0);
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
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	lane_deliver(l);
	lane_release(l);
	return NULL;
}

void lane_submit(struct lane *l, struct lane_job *job)
{
	pthread_mutex_lock(&l->lock);
	list_add_tail(&l->waiting, &job->node);
	pthread_mutex_unlock(&l->lock);
	pthread_cond_signal(&l->wake); /* unlocked: it would wake up to wait for the lock */
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
