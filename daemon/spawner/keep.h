/*
 * The life of the ops we keep: started, reaped, drained of children, stopped, forgotten. The rules
 * of contract section 1
 * ("Processes") are here. What there is to tell goes to conn_report().
 */
#ifndef DAEMON_SPAWNER_KEEP_H
#define DAEMON_SPAWNER_KEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/spawner/child.h"
#include "daemon/spawner/op.h"
#include "daemon/spawner/start.h"

struct keep_config {
	int epoll;
	uint64_t nofile_soft; /* what ops get as soft limit of open files */
};

/* 0 or -errno. One of the next two follows. */
int keep_init(const struct keep_config *config) _must_check_;
/* Takes over the table as a predecessor left it that has died. */
void keep_inherit(void);
/* Goes on with the op in the slot, whose struct is filled as it was before our program was executed
 * anew. */
void keep_resume(uint32_t slot);

/* A START frame, checked by the caller to be whole, with the fds it speaks of; those that are left
 * in `fds` are the caller's. False: not taken, to be answered BUSY; *ret_why says why, err 0: there
 * is no room. */
bool keep_start(const struct sw_start *start, struct start_fds *fds,
		struct child_error *ret_why) _must_check_;
/* What became of a START that the warm shell was asked for; pid 0: there is no child. */
void keep_answered(uint32_t slot, int32_t pid, struct child_error e);
void keep_stop(uint64_t token, int64_t grace_ms);
void keep_signal(uint64_t token, int sig);
/* Keeps the note with the record. */
void keep_note(uint64_t token, uint32_t note);
/* Takes the read ends (-1: none) for an op that has none; false: they stay the caller's. */
bool keep_pipes(uint64_t token, int stdout_fd, int stderr_fd) _must_check_;
void keep_ack(uint64_t token);
/* As keep_stop, of every op: the session that they belong to is over. */
void keep_stop_all(int64_t grace_ms);

/* SIGCHLD came. */
void keep_reap(void);
/* The error pipe of a fork, or the pidfd of a foreign op, has something to say. */
void keep_fd_event(uint32_t slot);
/* Deadlines that have passed, then ops whose trees are gone; once a turn, after all else. */
void keep_turn(void);
/* The next deadline, monotonic; 0: none. */
int64_t keep_deadline_ms(void);
/* No op is known any more: what they left is nobody's. */
void keep_forget(void);
/* Ops not ended. */
uint32_t keep_live(void);

#endif
