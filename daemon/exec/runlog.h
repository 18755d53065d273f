/*
 * The output of a run on disk: one append-only log and one index a run, STATE/runs/RUN.log and
 * RUN.idx, made when the first byte comes. The index is a row of fixed records {op, attempt,
 * stream, time, offset, length, positions}, each written before the bytes it describes; a record
 * that reaches beyond the log (a crash in between) is cut when read, and in place when a writer
 * opens the run again. Consecutive output of one stream within 100 ms is one record (coarser once a
 * run has very many). Past an op's cap the middle is punched out of the log: a DROP record says so
 * first. Numbers that reach disk are never renumbered.
 *
 * Kept of a capped attempt: the first cap/2 bytes and the last cap - cap/2 over both streams; while
 * it runs up to a quarter of the cap (at least 4 KiB, at most 16 MiB) more, since dropping goes in
 * steps. What is dropped in pieces smaller than a page is freed once the whole page is.
 *
 * A log that somebody cuts under its writer is not made up for with the zeros of a hole: a CUT
 * record says what is missing.
 *
 * All this holds over the death of the process at any instruction. After a power cut it holds for
 * what runlog_sync has seen.
 *
 * One writer (the output thread that has the run); readers see whatever is complete. Positions
 * count bytes of one attempt of one op as printed, dropped ones too: of one stream, or of both in
 * order of arrival.
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

/* Opens what there is; a run without output gives an empty reader. -errno on trouble (-EPROTO: not
 * an index of ours). */
int runlog_open(const char *dir, uint64_t run, struct runlog_reader **ret)
	__attribute__((warn_unused_result));
struct runlog_reader *runlog_close(struct runlog_reader *r);
/* Takes in what was written since. 0 or -errno. */
int runlog_refresh(struct runlog_reader *r) __attribute__((warn_unused_result));

struct runlog_size {
	int64_t size;	 /* bytes printed */
	int64_t dropped; /* of these, no longer there */
};
struct runlog_size runlog_size(const struct runlog_reader *r, uint32_t op, uint32_t attempt,
			       enum stream stream);

/* stdout, stderr and dropped bytes of the attempt; as it was where that cannot be read. */
void runlog_printed(const char *dir, uint64_t run, uint32_t op, uint32_t attempt, int64_t ret[3]);

/* Where the dropped middle lies, as positions of that stream: from == to where nothing was dropped.
 */
struct runlog_gap {
	int64_t from, to;
};
struct runlog_gap runlog_gap(const struct runlog_reader *r, uint32_t op, uint32_t attempt,
			     enum stream stream);

struct runlog_chunk {
	int64_t time_ms;
	int stream;
	int64_t bytes;
};
/*
 * Appends to `data` the bytes from position `offset` on, at most `limit` (negative: all); a dropped
 * middle is stepped over. *ret_offset is the position of the first byte returned, *ret_next that
 * after the last, *ret_dropped the bytes stepped over from `offset` to *ret_next: *ret_next ==
 * offset + bytes returned + *ret_dropped, for an offset within what was printed. `chunks` (may be
 * NULL) gets struct runlog_chunk's for the bytes returned, in order. It ends before bytes that
 * somebody took away from the log. 0 or -errno, -ENOMEM where the limit was too great, -EIO where
 * the first byte is missing.
 */
int runlog_read(struct runlog_reader *r, uint32_t op, uint32_t attempt, enum stream stream,
		int64_t offset, int64_t limit, struct buf *data, struct buf *chunks,
		int64_t *ret_offset, int64_t *ret_next, int64_t *ret_dropped)
	__attribute__((warn_unused_result));
/* The position at which the last n lines begin (a last line without newline counts); -errno when it
 * cannot be read. */
int64_t runlog_tail_lines(struct runlog_reader *r, uint32_t op, uint32_t attempt,
			  enum stream stream, int64_t n);

/* How many bytes of `stream` were printed before position `pos` over both: those of the two streams
 * add up to `pos`. Where that lies in what is gone, stdout's bytes of it count as the first. */
int64_t runlog_stream_at(const struct runlog_reader *r, uint32_t op, uint32_t attempt,
			 enum stream stream, int64_t pos);

/* Removes a run's log and index. */
void runlog_remove(const char *dir, uint64_t run);
/*
 * Both files and their names durable if there are any. 0 or -errno. Any thread. `again`: the last
 * try failed. A kernel tells of bytes it could not write once, and takes them for written from then
 * on: so they are written anew before they are synced.
 */
int runlog_sync(const char *dir, uint64_t run, bool again) __attribute__((warn_unused_result));

/* --- writing: the output thread that has the run --- */

/* A piece of an attempt's output after its head, in the log. */
struct runlog_piece {
	int64_t off;
	uint32_t record;   /* its number, UINT32_MAX: keep it */
	uint32_t len : 31; /* bytes */
	uint32_t err : 1;  /* stderr's */
};

/* What a writer knows of an attempt under way. A fixed size, and past the cap's half 16 bytes a
 * piece kept, 4 MiB at most. */
struct runlog_attempt {
	uint32_t op, attempt;
	int64_t cap;		 /* 0: none */
	int64_t pos;		 /* bytes printed */
	int64_t stream_pos[2];	 /* of these, stdout's and stderr's */
	int64_t head;		 /* position up to which nothing is ever dropped */
	int64_t drop_to;	 /* [head, drop_to) is dropped; 0: nothing */
	int64_t stream_drop[2];	 /* bytes dropped of each stream */
	uint32_t drop_record;	 /* number of the record that says so, UINT32_MAX: none, or of an
				    earlier writer */
	uint32_t first, n, size; /* pieces[first, first + n) */
	struct runlog_piece *pieces;
};

/* Opens nothing. */
struct runlog_writer *runlog_writer_new(const char *dir, uint64_t run);
struct runlog_writer *runlog_writer_free(struct runlog_writer *w);
/*
 * Fills `a` for an attempt that begins, or that goes on where the log ends (after a restart: pos >
 * 0). 0, or -errno with nothing to free: what an earlier writer left cannot be read now.
 */
int runlog_attempt_begin(struct runlog_writer *w, struct runlog_attempt *a, uint32_t op,
			 uint32_t attempt, int64_t cap) __attribute__((warn_unused_result));
/* The last of it: drops down to the cap exactly. The totals in `a` stay readable; nothing needs
 * freeing after it. */
void runlog_attempt_end(struct runlog_writer *w, struct runlog_attempt *a);
/* Frees without touching the disk. */
void runlog_attempt_forget(struct runlog_attempt *a);

struct runlog_room {
	int fd;
	int64_t off; /* write here */
	int64_t len; /* this many bytes at most: 1 to what was asked for */
};
/*
 * Writes the record for up to `len` (> 0) bytes that are about to be written to the log. Must be
 * followed by runlog_wrote with what was (0 is fine) before any other call on w. -errno: nothing
 * has changed, try again later.
 */
int runlog_reserve(struct runlog_writer *w, struct runlog_attempt *a, enum stream stream,
		   int64_t len, int64_t time_ms, struct runlog_room *ret)
	__attribute__((warn_unused_result));
void runlog_wrote(struct runlog_writer *w, struct runlog_attempt *a, int64_t len);
/*
 * The same for whole blocks that go to the disk at once, past the page cache (O_DIRECT): `len` is a
 * multiple of RUNLOG_BLOCK, and so is the room's. They begin at a block of the log: up to there it
 * has a hole that no record speaks of. 1: that is not to be had (a file system without, bytes that
 * may yet be dropped), and nothing has changed.
 */
#define RUNLOG_BLOCK INT64_C(4096)
int runlog_reserve_direct(struct runlog_writer *w, struct runlog_attempt *a, enum stream stream,
			  int64_t len, int64_t time_ms, struct runlog_room *ret)
	__attribute__((warn_unused_result));
/* Is there so much new in the log after what `a` printed that it is worth sending to the disk ahead
 * of runlog_sync? Bytes that may yet be dropped are not. *ret is where it lies. */
bool runlog_early(const struct runlog_writer *w, const struct runlog_attempt *a,
		  struct runlog_room *ret);
/* That was done. */
void runlog_early_sent(struct runlog_writer *w);

#endif
