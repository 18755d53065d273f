/*
 * What `batchctl doctor` looks at: a table of checks, each saying one or several findings, with the
 * command or change that mends what is not well. Nothing here starts a daemon or changes anything.
 */
#ifndef CLIENT_DOCTOR_H
#define CLIENT_DOCTOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "client/ctx.h"
#include "common/buf.h"
#include "common/lock.h"

enum doctor_level {
	DOCTOR_OK,
	DOCTOR_NOTE,	/* works, but not as well as it could, or not for everyone */
	DOCTOR_PROBLEM, /* something does not work, or soon will not */
	DOCTOR_MAX
};

struct doctor {
	struct ctx *c;
	/* What the first check found out for those after it. */
	struct lock_holder holder; /* of our state folder */
	bool locked, serves;	   /* it is held; and our socket is served by a batchd */
	struct buf status;	   /* daemon.status's result; empty: nobody answered */
	char *state, *socket_dir, *program;
	/* Findings. */
	const char *check; /* the row at work */
	struct buf text, json;
	struct pk *pk;
	int found[DOCTOR_MAX];
};

/* One finding of the row at work. `mend` (NULL: nothing to do) is what to do about it. */
void doctor_say(struct doctor *d, enum doctor_level level, const char *mend, const char *fmt, ...)
	_printf_(4, 5);
#define doctor_ok(d, ...) doctor_say(d, DOCTOR_OK, NULL, __VA_ARGS__)

/*
 * Runs a program to its end, at most 10 s, and gathers what it printed on stdout and stderr, as one
 * line. Its exit status, or -1: not run, killed, or too slow.
 */
int doctor_run(const char *const *argv, struct buf *out);

/* Is there a user manager of systemd to talk to? */
bool doctor_user_manager(void);

/* A row: its name and what looks. */
struct doctor_check {
	const char *name;
	void (*look)(struct doctor *d);
};

/* doctor_daemon.c: the programs and where they meet. */
void doctor_daemon(struct doctor *d);
void doctor_socket(struct doctor *d);
void doctor_programs(struct doctor *d);
void doctor_spawner(struct doctor *d);
void doctor_systemd(struct doctor *d);
/* doctor_state.c: what they work with. */
void doctor_config(struct doctor *d);
void doctor_state(struct doctor *d);
void doctor_database(struct doctor *d);
void doctor_disk(struct doctor *d);
void doctor_log(struct doctor *d);
void doctor_clock(struct doctor *d);
void doctor_limits(struct doctor *d);
void doctor_containment(struct doctor *d);
/* doctor_memory.c */
void doctor_memory(struct doctor *d);

#endif
