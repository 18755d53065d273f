/*
 * A run's index in memory: per attempt a chain of extents, one row a stream. Loaded bit by bit: 40
 * bytes an extent. Private to runlog*.c.
 */
#ifndef DAEMON_EXEC_RUNLOG_INDEX_H
#define DAEMON_EXEC_RUNLOG_INDEX_H

#include "daemon/exec/idmap.h"
#include "daemon/exec/runlog.h"
#include "daemon/exec/runlog_format.h"

struct extent {
	int64_t off, pos, stream_pos, time_ms;
	uint32_t len;	 /* of which all is in the log */
	uint32_t record; /* its number */
};

struct extents {
	struct extent *v; /* ordered by pos, and so by stream_pos */
	uint32_t n, size;
};

struct chain {
	uint32_t op, attempt;
	struct extents rows[2];	    /* stdout, stderr */
	int64_t drop_from, drop_to; /* positions over both; equal: nothing dropped */
	int64_t stream_drop[2];
};

/* Bytes of the log that somebody took away; of records before that number. */
struct cut {
	int64_t from, to;
	uint32_t record;
};

struct runlog_reader {
	char *dir;
	uint64_t run;
	int log_fd, idx_fd;
	/*
	 * Of the records that were there when a refresh began, only the last may still change: it
	 * stands in its row for the time being, and is read again on the next.
	 */
	uint32_t n_records;
	int64_t log_size; /* taken after n_records: it covers the bytes of all but the last */
	struct runlog_record newest; /* data; where the next one begins, it ends */
	uint32_t newest_number;	     /* RECORD_NONE: there is none */
	bool newest_shown;	     /* has an extent, the last of its row */
	struct chain *chains;
	uint32_t n_chains, size_chains;
	struct idmap by_key; /* runlog_key: index into chains + 1 */
	struct cut *cuts;
	uint32_t n_cuts;
};

/* NULL: that attempt printed nothing. Valid until the next refresh. */
const struct chain *runlog_chain(const struct runlog_reader *r, uint32_t op, uint32_t attempt);
/* Index of the first extent of the row that ends behind `at`: by position over both, or of the
 * stream. */
uint32_t extents_find(const struct extents *x, int64_t at, bool by_stream);

/* The live pieces of a chain in order, from any position, in either direction. */
struct chain_piece {
	int64_t at; /* position of the first byte, of the stream asked for */
	int64_t off, len, time_ms;
	uint32_t record;
	enum stream stream;
};
struct chain_walk {
	const struct chain *chain;
	enum stream stream;
	uint32_t next[2]; /* forward: the next extent of each row; backward: the one after it */
	bool rows[2];	  /* which to look at */
};

/* Forward from the piece that holds position `at` or follows it. */
void chain_walk_from(struct chain_walk *w, const struct chain *c, enum stream stream, int64_t at);
bool chain_walk_next(struct chain_walk *w, struct chain_piece *ret);
/* Backward from the end. */
void chain_walk_end(struct chain_walk *w, const struct chain *c, enum stream stream);
bool chain_walk_prev(struct chain_walk *w, struct chain_piece *ret);

/* Bytes printed, and the dropped range, in positions of the stream. */
struct runlog_size chain_size(const struct chain *c, enum stream stream);
struct runlog_gap chain_gap(const struct chain *c, enum stream stream);

#endif
