/*
 * The processes of an op beyond its own. The spawner is a subreaper: a process whose parent ends
 * becomes our child (an orphan) unless it had a subreaper of its own, so everything that ever
 * descended from an op is below it or below one of its orphans.
 *
 * An orphan belongs to the op whose cgroup it is in; else to the one whose session or group it is
 * in; else to the one it is marked with (mark.h) or its environment names (BATCHD_RUN, BATCHD_OP,
 * BATCHD_ATTEMPT, with the BATCHD_OWNER the op was given; BATCHD_RUN=0 names none: a daemon); else,
 * when it is first seen and only one op is alive, to that one. What stays unclear is logged once
 * and left alone.
 *
 * Of a spawner that was killed the orphans went elsewhere: those of its ops are found among all
 * processes, by session, mark and environment.
 */
#ifndef DAEMON_SPAWNER_TREE_H
#define DAEMON_SPAWNER_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/spawner/op.h"

/* At start; closing: struct op's whose own process is reaped and that are not done. 0 or -errno. */
int tree_init(const struct list *closing) _must_check_;
/* A child that is no op's own process was reaped. */
void tree_reaped(int32_t pid);
/* A new turn of the loop: what was seen of /proc is old. */
void tree_turn(void);
/*
 * Looks at our children now and counts for every closing op the orphans it has, in `kin`. Costs one
 * read when there is none. `n_live`: ops alive in all. Returns how many new orphans do not say yet
 * whose they are: look again in a few milliseconds.
 */
uint32_t tree_look(uint32_t n_live);
/* Sends the signal to the op's orphans that did not get it (or KILL) yet; those among our children
 * only. */
void tree_signal_new(const struct op *op, int sig);
/* Processes of the op that live, its own included; as of this turn. */
uint32_t tree_count(const struct op *op);
/* Sends the signal to all of them, once each, and continues stopped ones so that they can end; the
 * number. */
uint32_t tree_signal(const struct op *op, int sig);

/* What is known of an orphan, for a program executed in our place. stored, never reorder (see
 * handover.h) */
enum { TREE_SETTLED = 1, TREE_LOOKED = 2, TREE_TOLD = 4 };
struct tree_kin {
	int32_t pid, sent;
	uint64_t owner;
	int64_t seen_ms;
	uint32_t flags, reserved;
};
/* No op is known any more: whose the orphans were no longer matters. */
void tree_forget(void);
/* Room for PIDS_ORPHANS; returns how many. */
uint32_t tree_save(struct tree_kin *ret);
/* After tree_init. */
void tree_restore(const struct tree_kin *kin, uint32_t n);

/*
 * Is `pid` a live process that began between two times of CLOCK_BOOTTIME, to the tick of the
 * kernel's account (10 ms)? until_ns 0: not known, some time later.
 */
bool tree_same_process(int32_t pid, int64_t from_ns, int64_t until_ns);
bool tree_is_process_of(const struct record *r);
/*
 * Processes that may be what a foreign op left: in the middle of an exec, which shows no
 * environment. They come out of that within TREE_EXEC_PATIENCE_MS, however busy the machine is.
 */
#define TREE_EXEC_PATIENCE_MS 5000
uint32_t tree_unclear(const struct op *op);
/* FNV-1a over the value of BATCHD_OWNER among "NAME=VALUE\0" strings; 0: not there. */
uint64_t tree_owner_hash(const char *strings, size_t len);

#endif
