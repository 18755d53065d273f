#include "daemon/exec/output_early.h"

#include <fcntl.h>
#include <unistd.h>

void early_init(struct early *e)
{
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->more, NULL);
	e->started = e->stop = false;
	e->fd = -1;
}

/* False when it ends. */
static bool early_wait(struct early *e)
{
	pthread_mutex_lock(&e->lock);
	while (e->fd < 0 && !e->stop)
		pthread_cond_wait(&e->more, &e->lock);
	bool more = e->fd >= 0;
	pthread_mutex_unlock(&e->lock);
	return more;
}

static void *early_thread(void *arg)
{
	struct early *e = arg;
	while (early_wait(e)) {
		/* Begins the writing only; whether it works is for the sync to find out. */
		sync_file_range(e->fd, e->off, e->len, SYNC_FILE_RANGE_WRITE);
		close(e->fd);
		pthread_mutex_lock(&e->lock);
		e->fd = -1;
		pthread_mutex_unlock(&e->lock);
	}
	return NULL;
}

/* Signals are the loop's: the pump that calls has them blocked, and so has its child. */
static bool early_start(struct early *e)
{
	if (!e->started)
		e->started = pthread_create(&e->thread, NULL, early_thread, e) == 0;
	return e->started;
}

void early_done(struct early *e)
{
	pthread_mutex_lock(&e->lock);
	e->stop = true;
	pthread_cond_signal(&e->more);
	pthread_mutex_unlock(&e->lock);
	if (e->started)
		pthread_join(e->thread, NULL);
	pthread_cond_destroy(&e->more);
	pthread_mutex_destroy(&e->lock);
}

bool early_is_free(struct early *e)
{
	pthread_mutex_lock(&e->lock);
	bool is_free = e->fd < 0;
	pthread_mutex_unlock(&e->lock);
	return is_free;
}

void early_send(struct early *e, int fd, int64_t off, int64_t len)
{
	/* Ours, since the run may end and close its log meanwhile. */
	int own = early_start(e) ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (own < 0)
		return;
	pthread_mutex_lock(&e->lock);
	e->fd = own;
	e->off = off;
	e->len = len;
	pthread_cond_signal(&e->more);
	pthread_mutex_unlock(&e->lock);
}
