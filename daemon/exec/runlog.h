/*
 * The output of a run on disk: one append-only log and one index a run, STATE/runs/RUN.log and RUN.idx, made when the first byte
 * comes. The index is a row of fixed records {op, attempt, stream, time, offset, length}, each written before the bytes it
 * describes; a record that reaches beyond the log (a crash in between) is cut when read. Past an op's cap the middle is punched
 * out of the log, a DROP record says so first. Numbers that reach disk are never renumbered.
 *
 * One writer (the output thread that has the run); readers see whatever is complete. Positions count bytes of one attempt of one op
 * as printed, dropped ones too: of one stream, or of both in order of arrival.
 */
#ifndef DAEMON_EXEC_RUNLOG_H
#define DAEMON_EXEC_RUNLOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"

struct runlog_writer;
struct runlog_reader;

/* STREAM_BOTH is order of arrival. */
enum stream { STREAM_BOTH = 0, STREAM_STDOUT = 1, STREAM_STDERR = 2 };

/* --- reading: any thread, one at a time per reader --- */

/* Opens what there is; a run without output gives an empty reader. -errno on trouble. */
int runlog_open(const char *dir, uint64_t run, struct runlog_reader **ret) __attribute__((warn_unused_result));
struct runlog_reader *runlog_close(struct runlog_reader *r);
/* Takes in what was written since. 0 or -errno. */
int runlog_refresh(struct runlog_reader *r) __attribute__((warn_unused_result));

struct runlog_size {
	int64_t size;	 /* bytes printed */
	int64_t dropped; /* of these, no longer there */
};
struct runlog_size runlog_size(const struct runlog_reader *r, uint32_t op, uint32_t attempt, enum stream stream);

struct runlog_chunk {
	int64_t time_ms;
	int stream;
	int64_t bytes;
};
/*
 * Appends to `data` the bytes from position `offset` on, at most `limit`; a dropped middle is stepped over. *ret_offset is the
 * position of the first byte returned, *ret_next that after the last, *ret_dropped the bytes stepped over in between. `chunks`
 * (may be NULL) gets struct runlog_chunk's for the bytes returned, in order. 0 or -errno.
 */
int runlog_read(struct runlog_reader *r, uint32_t op, uint32_t attempt, enum stream stream, int64_t offset, int64_t limit,
		struct buf *data, struct buf *chunks, int64_t *ret_offset, int64_t *ret_next, int64_t *ret_dropped)
	__attribute__((warn_unused_result));
/* The position at which the last n lines begin (a last line without newline counts). */
int64_t runlog_tail_lines(struct runlog_reader *r, uint32_t op, uint32_t attempt, enum stream stream, int64_t n);

/* Removes a run's log and index. */
void runlog_remove(const char *dir, uint64_t run);
/* Both files durable if there are any (fdatasync). 0 or -errno. Any thread. */
int runlog_sync(const char *dir, uint64_t run) __attribute__((warn_unused_result));

#endif
