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
void warm_init(const char *program, int epoll);
/*
 * Asks for a child for the op in that slot, which comes about while we go on: keep_answered() is
 * called when it is about to be the shell, or has failed. The kernel writes its pid into the record
 * before it runs. False: another way is to be taken.
 */
bool warm_ask(const struct child_spec *spec, uint32_t slot) _must_check_;
/* The shell's socket is readable. */
void warm_event(void);
/* Waits until all that was asked is answered: for who must know the pid of a child. */
void warm_settle(void);
/* Is something asked and not answered? Then a child that nobody knows may be that. */
bool warm_is_asked(void);
/* Is it a child whose answer has not been read? */
bool warm_has(pid_t pid);
/* That child has ended, perhaps before it could answer: takes it for answered. */
void warm_has_ended(pid_t pid);
/* Whether the pid is that of the shell itself. */
bool warm_is(pid_t pid);
/* It has ended, and is reaped. */
void warm_reaped(void);
/* Ends it after a while without work, or without an answer. */
void warm_turn(void);
/* When warm_turn has something to do, monotonic; 0: never. */
int64_t warm_deadline_ms(void);
/* Ends it now. */
void warm_end(void);
/* Ends that of a spawner that was killed: it might yet start what was asked of it. Before the table
 * is looked at. */
void warm_end_predecessors(void);

#endif
