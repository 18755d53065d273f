/*
 * Readers of run logs for the methods that show output: a few stay open, because whoever pages
 * through an op's output asks many times. A reader belongs to its taker until it is put back: on
 * the loop thread or on a worker, one at a time. Hides exec/runlog.h, whose enum stream has the
 * names of the wire's.
 */
#ifndef DAEMON_RPC_LOGCACHE_H
#define DAEMON_RPC_LOGCACHE_H

#include <stdint.h>

#include "common/buf.h"

#define LOGCACHE_KEPT 8

struct logcache;
struct logread;

struct logcache *logcache_new(const char *runs_dir);
/* Freed when the last reader has been put back. */
void logcache_release(struct logcache *c);

/* Loop thread. Opens nothing yet. */
struct logread *logcache_take(struct logcache *c, uint64_t run);
void logcache_put(struct logread *r); /* NULL is fine */
/* The run's files were removed: readers of them are closed, those in use when they are put back. */
void logcache_removed(struct logcache *c, uint64_t run);

/* --- the taker, any thread --- */

/* Takes in what has been written since; before anything else. 0 or -errno. */
int logread_refresh(struct logread *r) __attribute__((warn_unused_result));

/* Bytes of a stream (0: both, 1: stdout, 2: stderr), and the dropped middle [gap_from, gap_to),
 * empty where nothing is missing. */
struct logread_extent {
	int64_t size, gap_from, gap_to;
};
struct logread_extent logread_extent(struct logread *r, uint32_t op, uint32_t attempt, int stream);

struct logread_chunk {
	int64_t time_ms;
	int stream;
	int64_t bytes;
};
/* As runlog_read: *ret_offset where the first byte returned stands, *ret_next after the last. */
int logread_read(struct logread *r, uint32_t op, uint32_t attempt, int stream, int64_t offset,
		 int64_t limit, struct buf *data, struct buf *chunks, int64_t *ret_offset,
		 int64_t *ret_next) __attribute__((warn_unused_result));
/* How much of that one stream had been printed before position `pos` over both. */
int64_t logread_stream_at(struct logread *r, uint32_t op, uint32_t attempt, int stream, int64_t pos);
/* Where the last n lines begin; -errno. */
int64_t logread_tail_lines(struct logread *r, uint32_t op, uint32_t attempt, int stream, int64_t n);

#endif
