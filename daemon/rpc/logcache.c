#include "daemon/rpc/logcache.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

#include "common/list.h"
#include "common/xalloc.h"
#include "daemon/exec/runlog.h"

struct logcache {
	char *dir;
	struct list idle; /* least lately used first */
	struct list taken;
	unsigned n_idle, n_taken;
	bool released;
};

struct logread {
	struct logcache *cache;
	struct list list;
	uint64_t run;
	bool removed;		      /* the run's files are: not to be kept */
	struct runlog_reader *reader; /* NULL: not opened yet */
};

static_assert(sizeof(struct logread_chunk) == sizeof(struct runlog_chunk) &&
		      offsetof(struct logread_chunk, stream) ==
			      offsetof(struct runlog_chunk, stream) &&
		      offsetof(struct logread_chunk, bytes) == offsetof(struct runlog_chunk, bytes),
	      "chunks are handed on as they are");

struct logcache *logcache_new(const char *runs_dir)
{
	struct logcache *c = xcalloc(1, sizeof(*c));
	c->dir = xstrdup(runs_dir ? runs_dir : "");
	list_init(&c->idle);
	list_init(&c->taken);
	return c;
}

static void logread_free(struct logread *r)
{
	list_del(&r->list);
	runlog_close(r->reader);
	free(r);
}

static void logcache_free_if_done(struct logcache *c)
{
	if (!c->released || c->n_taken)
		return;
	free(c->dir);
	free(c);
}

void logcache_release(struct logcache *c)
{
	list_for_safe (&c->idle, node)
		logread_free(list_entry(node, struct logread, list));
	c->n_idle = 0;
	c->released = true;
	logcache_free_if_done(c);
}

struct logread *logcache_take(struct logcache *c, uint64_t run)
{
	struct logread *r = NULL;
	c->n_taken++;
	list_for (&c->idle, node) {
		if (list_entry(node, struct logread, list)->run == run)
			r = list_entry(node, struct logread, list);
	}
	if (r) {
		list_del(&r->list);
		c->n_idle--;
	} else {
		r = xcalloc(1, sizeof(*r));
		r->cache = c;
		r->run = run;
	}
	list_add_tail(&c->taken, &r->list);
	return r;
}

void logcache_put(struct logread *r)
{
	if (!r)
		return;
	struct logcache *c = r->cache;
	c->n_taken--;
	list_del(&r->list);
	if (!r->reader || r->removed || c->released) {
		logread_free(r);
		logcache_free_if_done(c);
		return;
	}
	list_add_tail(&c->idle, &r->list);
	if (++c->n_idle > LOGCACHE_KEPT) {
		c->n_idle--;
		logread_free(list_entry(c->idle.next, struct logread, list));
	}
}

void logcache_removed(struct logcache *c, uint64_t run)
{
	list_for (&c->taken, node) {
		struct logread *r = list_entry(node, struct logread, list);
		r->removed |= r->run == run;
	}
	list_for_safe (&c->idle, node) {
		struct logread *r = list_entry(node, struct logread, list);
		if (r->run != run)
			continue;
		c->n_idle--;
		logread_free(r);
	}
}

int logread_refresh(struct logread *r)
{
	return r->reader ? runlog_refresh(r->reader)
			 : runlog_open(r->cache->dir, r->run, &r->reader);
}

struct logread_extent logread_extent(struct logread *r, uint32_t op, uint32_t attempt, int stream)
{
	struct runlog_gap gap = runlog_gap(r->reader, op, attempt, (enum stream)stream);
	return (struct logread_extent){
		.size = runlog_size(r->reader, op, attempt, (enum stream)stream).size,
		.gap_from = gap.from,
		.gap_to = gap.to
	};
}

int logread_read(struct logread *r, uint32_t op, uint32_t attempt, int stream, int64_t offset,
		 int64_t limit, struct buf *data, struct buf *chunks, int64_t *ret_offset,
		 int64_t *ret_next)
{
	int64_t dropped;
	return runlog_read(r->reader, op, attempt, (enum stream)stream, offset, limit, data, chunks,
			   ret_offset, ret_next, &dropped);
}

int64_t logread_stream_at(struct logread *r, uint32_t op, uint32_t attempt, int stream, int64_t pos)
{
	return runlog_stream_at(r->reader, op, attempt, (enum stream)stream, pos);
}

int64_t logread_tail_lines(struct logread *r, uint32_t op, uint32_t attempt, int stream, int64_t n)
{
	return runlog_tail_lines(r->reader, op, attempt, (enum stream)stream, n);
}
