#include "daemon/exec/work.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/fd.h"
#include "common/log.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"

#define WORK_TURN_MS 5

struct work_item {
	struct work_item *next;
	work_fn run, done;
	void *arg;
};

struct work_queue {
	struct work_item *first, **end;
};

struct work {
	pthread_mutex_t lock; /* of todo, finished and stop */
	pthread_cond_t more;
	struct work_queue todo, finished;
	bool stop;
	int fd; /* eventfd: `finished` was empty and is so no more */
	struct event *event;
	/* The loop's: what finished, and others come between the completions. */
	struct work_queue ready;
	struct event *again;
	unsigned n_under_way; /* submitted, and not completed */
	unsigned n_threads;
	pthread_t threads[];
};

static void work_queue_init(struct work_queue *q)
{
	q->first = NULL;
	q->end = &q->first;
}

static void work_queue_add(struct work_queue *q, struct work_item *item)
{
	item->next = NULL;
	*q->end = item;
	q->end = &item->next;
}

static struct work_item *work_queue_take(struct work_queue *q)
{
	struct work_item *item = q->first;
	q->first = item->next;
	if (!q->first)
		q->end = &q->first;
	return item;
}

static void work_queue_free(struct work_queue *q)
{
	while (q->first)
		free(work_queue_take(q));
}

/* The next item, or NULL when the pool ends. */
static struct work_item *work_next(struct work *w)
{
	pthread_mutex_lock(&w->lock);
	while (!w->todo.first && !w->stop)
		pthread_cond_wait(&w->more, &w->lock);
	struct work_item *item = w->stop ? NULL : work_queue_take(&w->todo);
	pthread_mutex_unlock(&w->lock);
	return item;
}

static void work_finish(struct work *w, struct work_item *item)
{
	pthread_mutex_lock(&w->lock);
	bool wake = !w->finished.first;
	work_queue_add(&w->finished, item);
	pthread_mutex_unlock(&w->lock);
	int r = wake ? fd_wake(w->fd) : 0;
	if (r < 0)
		log_error("cannot wake the loop: %s", errno_text(-r));
}

static void *work_thread(void *arg)
{
	struct work *w = arg;
	struct work_item *item;
	while ((item = work_next(w))) {
		item->run(item->arg);
		work_finish(w, item);
	}
	return NULL;
}

/* Completions may be long (answers of megabytes), and there may be hundreds: others have their turn
 * in between. */
static void work_complete(struct work *w)
{
	int64_t until = time_mono_ms() + WORK_TURN_MS;
	while (w->ready.first && time_mono_ms() <= until) {
		struct work_item *item = work_queue_take(&w->ready);
		w->n_under_way--;
		if (item->done)
			item->done(item->arg);
		free(item);
	}
	if (w->ready.first)
		event_add(w->again, &(struct timeval){ 0 });
}

static void work_on_more(evutil_socket_t fd _unused_, short what _unused_, void *arg)
{
	work_complete(arg);
}

/* On the loop: what finishes meanwhile wakes us again. */
static void work_on_event(evutil_socket_t fd, short what _unused_, void *arg)
{
	struct work *w = arg;
	eventfd_t count;
	if (eventfd_read(fd, &count) < 0)
		return;
	pthread_mutex_lock(&w->lock);
	while (w->finished.first)
		work_queue_add(&w->ready, work_queue_take(&w->finished));
	pthread_mutex_unlock(&w->lock);
	work_complete(w);
}

static void work_start_threads(struct work *w, unsigned threads)
{
	for (; w->n_threads < threads; w->n_threads++)
		if (pthread_create(&w->threads[w->n_threads], NULL, work_thread, w) != 0)
			break;
	if (w->n_threads > 0)
		return;
	log_error("cannot make a thread: raise the limit of processes (ulimit -u)");
	abort();
}

struct work *work_new(struct event_base *base, unsigned threads)
{
	struct work *w = xcalloc(1, sizeof(*w) + threads * sizeof(w->threads[0]));
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->more, NULL);
	work_queue_init(&w->todo);
	work_queue_init(&w->finished);
	work_queue_init(&w->ready);
	w->again = evtimer_new(base, work_on_more, w);
	w->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->fd >= 0)
		w->event = event_new(base, w->fd, EV_READ | EV_PERSIST, work_on_event, w);
	if (!w->event || !w->again || event_add(w->event, NULL) < 0) {
		log_error("cannot make an eventfd: %s", errno_text(errno));
		abort();
	}
	work_start_threads(w, threads);
	return w;
}

struct work *work_free(struct work *w)
{
	if (!w)
		return NULL;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->more);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->n_threads; i++)
		pthread_join(w->threads[i], NULL);
	event_free(w->event);
	event_free(w->again);
	close(w->fd);
	work_queue_free(&w->todo);
	work_queue_free(&w->finished);
	work_queue_free(&w->ready);
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	free(w);
	return NULL;
}

void work_submit(struct work *w, work_fn run, work_fn done, void *arg)
{
	struct work_item *item = xmalloc(sizeof(*item));
	*item = (struct work_item){ .run = run, .done = done, .arg = arg };
	w->n_under_way++;
	pthread_mutex_lock(&w->lock);
	work_queue_add(&w->todo, item);
	pthread_cond_signal(&w->more);
	pthread_mutex_unlock(&w->lock);
}

bool work_is_busy(const struct work *w)
{
	return w->n_under_way > 0;
}
