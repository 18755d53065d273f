/*
 * An executor runs attempts: the local one through the spawner, the file one on worker threads;
 * later ones elsewhere. The engine knows only this table. All calls and callbacks are on the loop
 * thread; a callback never comes before start() has returned.
 *
 * A token names an attempt for ever: run << 32 | (op - 1) << 12 | attempt (see token_make).
 * Starting a known token again runs nothing.
 */
#ifndef DAEMON_EXEC_EXECUTOR_H
#define DAEMON_EXEC_EXECUTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/slice.h"

static inline uint64_t token_make(uint64_t run, uint32_t op, uint32_t attempt)
{
	return run << 32 | (uint64_t)(op - 1) << 12 | attempt;
}
static inline uint64_t token_run(uint64_t token)
{
	return token >> 32;
}
static inline uint32_t token_op(uint64_t token)
{
	return ((uint32_t)(token >> 12) & 0xfffff) + 1;
}
static inline uint32_t token_attempt(uint64_t token)
{
	return token & 0xfff;
}

/* Everything borrowed; valid during start(). */
struct exec_spec {
	uint64_t token;
	uint64_t after;	   /* it begins when that attempt has ended well, else it is `busy`; 0: at
			      once */
	const char *cwd;   /* absolute */
	struct slice argv; /* "a\0b\0c\0": the program first, looked up in the op's PATH if without
			      slash */
	uint32_t argc;
	const char *env_file;	  /* "NAME=VALUE\0" strings: the run's environment */
	uint64_t env_sum;	  /* what sum_bytes() of that file is to be; 0: not known */
	struct slice env_extra;	  /* laid over it: "NAME=VALUE\0", or "NAME\0" to remove */
	struct slice stdin_bytes; /* has_stdin_bytes */
	const char *stdin_file;	  /* absolute, or NULL */
	bool has_stdin_bytes, detach, pty;
	uint32_t umask;
	int64_t output_cap; /* 0: none */
};

/* How an attempt ended. Exactly one of: start_errno != 0 (nothing was executed), lost, or a wait
 * status. */
struct exec_result {
	uint64_t token;
	int wait_status; /* as waitpid(2) gives it */
	int start_errno;
	const char *start_step; /* "chdir", "exec", "stdin", "setsid", "pipe", "fork",
				   "environment" (EBADMSG: the file is not what it was), ...: what
				   failed with start_errno */
	bool lost;		/* nobody can know how it ended */
	const char *unread; /* NULL, or why what it printed last may be missing and the sizes are
			       not known: "the spawner was killed ..." */
	uint32_t note;	    /* that it was stopped with, as far as the executor told; 0: none */
	int32_t pid;
	uint32_t lingering;	/* children that outlived it */
	int64_t started, ended; /* wall ms */
	int64_t duration_ms;	/* monotonic; unless lost */
	int64_t stdout_bytes, stderr_bytes, dropped_bytes;
	/* file ops: filled instead of a wait status */
	bool is_file_op;
	int cause;	  /* enum op_cause; 0: succeeded */
	struct err error; /* one line where it failed */
};

struct exec_events {
	void (*started)(void *arg, uint64_t token, int32_t pid, int64_t wall_ms);
	void (*ended)(void *arg, const struct exec_result *result);
	/* Not taken for want of processes, fds or memory: nothing was run, the token may be started
	 * again later. */
	void (*busy)(void *arg, uint64_t token);
	void *arg;
};

#endif
