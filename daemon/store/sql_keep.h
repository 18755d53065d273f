/*
 * Which runs are to go now, and when the next ones are: on the read thread, changing nothing.
 *
 * Output is dropped when its run has ended longer ago than output_ms; and when that of all ended
 * runs takes more disk than output_bytes, the oldest of those that succeeded first, then the oldest
 * of the others. Runs are forgotten when they ended longer ago than rows_ms. What has not ended is
 * never touched, and a run that another names which has not begun is not forgotten.
 */
#ifndef DAEMON_STORE_SQL_KEEP_H
#define DAEMON_STORE_SQL_KEEP_H

#include "common/buf.h"
#include "common/err.h"
#include "daemon/store/keep.h"
#include "daemon/store/sql_read.h"

/* Of each kind at most; what is left over is found the next time. */
#define KEEP_STEP 256

struct keep_ask {
	struct keep_limits limits;
	int64_t now_ms;	   /* wall clock */
	int64_t log_bytes; /* of all ended runs */
	struct buf needed; /* struct need_row each */
};

struct keep_found {
	struct buf forget;	    /* runs, uint64_t each */
	struct buf by_age, by_size; /* runs whose output goes */
	int64_t next_ms;	    /* when the next of those that stay are due; INT64_MAX: none */
	bool gone;		    /* something of forgotten runs is left to be deleted */
	bool blocked;		    /* something due stays because it is needed */
	int64_t spare_pages;	    /* of the database, to be given back */
};

/* Fills ret, whose bufs are emptied first. 0, or 1 with e. */
int sql_keep_choose(struct sql_reader *r, const struct keep_ask *ask, struct keep_found *ret,
		    struct err *e) _must_check_;
void keep_found_done(struct keep_found *f);
/* The run that needs this one; 0: none does. */
uint64_t keep_needed_by(const struct buf *needed, uint64_t run);

/*
 * When what ended at this time is dealt with: up to a sixteenth of the time, and a minute, later
 * than it could, so that what ended about together goes together.
 */
int64_t keep_due(int64_t ended_ms, int64_t keep_ms);

#endif
