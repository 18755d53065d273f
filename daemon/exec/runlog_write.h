/*
 * The writer's inside, shared by runlog_write.c (records) and runlog_drop.c (caps). Private to
 * runlog*.c.
 */
#ifndef DAEMON_EXEC_RUNLOG_WRITE_H
#define DAEMON_EXEC_RUNLOG_WRITE_H

#include "daemon/exec/runlog.h"
#include "daemon/exec/runlog_format.h"
#include "daemon/exec/runlog_hole.h"

struct runlog_writer {
	char *dir;
	uint64_t run;
	bool probed;		   /* whether an earlier writer left something is known */
	struct runlog_reader *old; /* what it left, for attempts that go on */
	int log_fd, idx_fd;
	int64_t end;		   /* of the log: the next byte goes here */
	int64_t at;		   /* or to the next whole block: where the room is, from reserve
				      to wrote */
	bool direct;		   /* log_fd has O_DIRECT */
	bool no_direct;		   /* its file system has no use for that */
	int64_t early;		   /* so far it was sent to the disk while it grew */
	uint32_t n_records;	   /* records in the index, the last one in `last` if last_valid */
	struct runlog_record last; /* newest data record, with the length that is really there */
	bool last_valid;	   /* it is the newest record of the index too */
	int64_t last_claim; /* its length in the file: differs only between reserve and wrote, or
			       after trouble */
	struct runlog_hole log_hole, idx_hole;
};

/* Makes the newest record's length in the index true. 0 or -errno. */
int runlog_writer_settle(struct runlog_writer *w) _must_check_;
/* Appends a record that describes no bytes. 0 or -errno. */
int runlog_writer_append(struct runlog_writer *w, const struct runlog_record *rec) _must_check_;
/* Notes `len` bytes just written to the log as the attempt's newest kept piece, and drops what is
 * too much by now. */
void runlog_drop_note(struct runlog_writer *w, struct runlog_attempt *a, enum stream stream,
		      int64_t len);
/* The attempt's pieces past its head as an earlier writer left them; in order of position. */
void runlog_drop_add(struct runlog_attempt *a, int64_t off, uint32_t record, int64_t len, bool err);
/* Drops [head, to). */
void runlog_drop(struct runlog_writer *w, struct runlog_attempt *a, int64_t to);

/*
 * runlog_index.c, for a writer that opens what there is: fills the positions, head, drops and
 * pieces of an attempt the index knows. a->head must be what it would be for a new one. False: not
 * known.
 */
bool runlog_restore(const struct runlog_reader *r, struct runlog_attempt *a);

#endif
