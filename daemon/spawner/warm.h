/*
 * A shell that is warm: bash loaded and linked once, stopped before its main() has done anything,
 * and forked for each op that is to run bash. The child then is what exec would have made, at about
 * half the price: its own pid ($$), our child, with the argv, environment, files, limits and folder
 * of the op, and main() runs in it from the beginning. (What differs: a library more and the same
 * addresses in /proc/PID/maps.)
 *
 * A library (warm_shell.c) that is loaded into that bash does it. Where anything is out of the
 * ordinary (no such bash, an environment that means something to the dynamic linker, long
 * arguments, a shell that does not answer) the op is executed the usual way.
 */
#ifndef DAEMON_SPAWNER_WARM_H
#define DAEMON_SPAWNER_WARM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/spawner/child.h"

/* `program` is ours, beside which the library is. */
void warm_init(const char *program);
/*
 * As child_vfork: true with *pid written before the child did anything and ret->err telling (a
 * failed child is reaped). False: there is no child, and another way is to be taken.
 */
bool warm_start(const struct child_spec *spec, int32_t *pid, struct child_error *ret) _must_check_;
/* Whether the pid is that of the shell itself; else 0 at the end of a process: it has ended. */
bool warm_is(pid_t pid);
void warm_reaped(void);
/* Ends it after a while without work. */
void warm_turn(void);
/* When warm_turn has something to do, monotonic; 0: never. */
int64_t warm_deadline_ms(void);
/* Ends it now. */
void warm_end(void);
/* Ends that of a spawner that was killed: it might yet start what was asked of it. Before the table
 * is looked at. */
void warm_end_predecessors(void);

#endif
