/*
 * A pump: the thread's side of the output. The loop (output.c) hands it messages through a queue,
 * it hands messages back through the queue all pumps share; both are woken by one eventfd write
 * when their queue was empty. Private to output*.c.
 *
 * An attempt or run belongs to the loop, which makes and frees it; its fields marked so belong to
 * the pump between MSG_ATTACH and MSG_DRAINED.
 */
#ifndef DAEMON_EXEC_OUTPUT_PUMP_H
#define DAEMON_EXEC_OUTPUT_PUMP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/list.h"
#include "daemon/exec/output.h"
#include "daemon/exec/output_early.h"
#include "daemon/exec/output_stage.h"
#include "daemon/exec/runlog.h"

enum msg_kind {
	MSG_ATTACH,    /* to the pump: attempt */
	MSG_FINISH,    /* to the pump: attempt */
	MSG_CLOSE_RUN, /* to the pump: a close_run */
	MSG_GREW,      /* from the pump: attempt */
	MSG_STAGE,     /* from the pump: attempt, whose stage is made */
	MSG_DRAINED,   /* from the pump: attempt */
	MSG_RELEASED,  /* from the pump: attempt, whose MSG_FINISH met it drained; the last word
			  about it */
};

struct msg {
	struct msg *next;
	enum msg_kind kind;
};

/* First in, first out; any thread. */
struct mailbox {
	pthread_mutex_t lock;
	struct msg *first, **end;
	int wake_fd; /* eventfd */
};

int mailbox_init(struct mailbox *box) _must_check_; /* 0 or -errno */
void mailbox_done(struct mailbox *box);
/* Appends a chain of messages and wakes the reader if it may be asleep. */
void mailbox_post(struct mailbox *box, struct msg *first, struct msg **end);
/* All there is, as a chain; resets the eventfd. */
struct msg *mailbox_take(struct mailbox *box);

struct pump;

struct output_run {
	uint64_t id;
	struct pump *pump;
	/* the loop's */
	unsigned attempts; /* not yet drained */
	int watch;
	unsigned n_quiet; /* so many of its ops in a row have printed nothing */
	bool used;	  /* attached to since the last output_run_done */
	bool opened;	  /* the pump may have files open */
	bool met;	  /* the pump has heard of it: it frees it */
	/* shared */
	atomic_int watched;
	/* the pump's */
	struct runlog_writer *writer;
	struct list open; /* output_attempt.node */
	struct list node; /* in pump.stalled */
	bool stalled;	  /* its log could not be written: its pipes are out of epoll */
	bool complained;
	int error;	  /* of the last stall */
	int64_t retry_at; /* time_mono_ms */
};

struct close_run {
	struct msg msg;
	struct output_run *run;
	bool free; /* the struct too: nobody else has it */
};

struct output_attempt;

/* The pump's. */
struct output_fd {
	struct output_attempt *attempt;
	int fd; /* -1: at its end, or none; it becomes that under the pump's close_lock */
	enum stream stream;
	bool waiting;	  /* in epoll */
	bool copy;	  /* splice is refused */
	bool widened;	  /* the pipe is as large as it gets */
	int direct_rest;  /* so often more it goes by the page cache */
	int direct_pause; /* so often it went the last time that was decided */
	char *held;	  /* read, and could not be written yet */
	size_t held_len;
};

struct output_attempt {
	struct msg attach, finish, grew, staged, drained; /* embedded: no allocation a message */
	uint64_t token;
	struct output_run *run;
	int64_t cap;
	/* the loop's */
	struct list all;
	struct list later; /* in pump.later */
	int64_t due_ms;	   /* time_mono_ms, when it is told to the pump; 0: with this turn */
	/* shared */
	atomic_bool finish_sent; /* by the loop: MSG_FINISH is there or comes */
	atomic_bool grew_posted;
	atomic_bool hurry; /* by the loop: output_hurry */
	bool finish_met;   /* the pump had MSG_FINISH before it said drained */
	bool again;
	/* the pump's; the loop reads totals from `log` after MSG_DRAINED */
	struct list node;
	struct output_fd fds[2];
	struct output_stage stage;
	struct runlog_attempt log;
	int64_t skip;	     /* bytes of stdout to throw away: the log has them */
	bool begun;	     /* log is filled */
	bool finishing;	     /* MSG_FINISH came */
	bool ended;	     /* drained was said */
	bool left;	     /* not all that was printed is in the log */
	int64_t patience_ms; /* until when its log is waited for, time_mono_ms; 0: not in a hurry */
};

enum { PUMP_BLOCK_BYTES = 65536 };

struct pump {
	struct mailbox in;
	struct mailbox *out;
	struct list later; /* the loop's: output_attempt.later, whose MSG_ATTACH is put off */
	const char *dir;
	int epoll_fd;
	atomic_bool stop;
	pthread_t thread;
	/* the thread's */
	struct list stalled;
	struct early early;
	int n_stages;		      /* that were made here, and are open */
	struct msg *done, **done_end; /* to be posted at the end of the round */
	char block[PUMP_BLOCK_BYTES];
	/* Held by the pump where it makes a stage or closes a pipe, by the loop where it makes a
	 * duplicate. */
	pthread_mutex_t close_lock;
};

/* 0 or -errno. */
int pump_start(struct pump *p, const char *dir, struct mailbox *out) _must_check_;
/* Ends the thread; its runs and attempts stay as they are. */
void pump_stop(struct pump *p);

/* --- output_take.c --- */

/*
 * Moves what fd holds now into the log. 0; 1: and it is at its end; -errno: the log cannot be
 * written, nothing is lost, and nothing but the same again helps.
 */
int output_take(struct pump *p, struct output_fd *f) _must_check_;
/* What the attempt's stage holds, and all of it: it comes before what its pipe holds. 0 or -errno,
 * as above. */
int output_take_stage(struct pump *p, struct output_attempt *a) _must_check_;
/* Also where nobody said that there is something to read. */
int output_take_rest(struct pump *p, struct output_fd *f) _must_check_;

#endif
