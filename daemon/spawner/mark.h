/*
 * What every process of an op carries, whatever it does to its session, its environment and its
 * parents: a soft RLIMIT_LOCKS, which goes over fork and exec, anyone of the same user may read,
 * and no kernel since 2.4.25 does anything with (getrlimit(2)). It says which attempt, and of which
 * table. A process may take it off.
 */
#ifndef DAEMON_SPAWNER_MARK_H
#define DAEMON_SPAWNER_MARK_H

#include <stdint.h>

/* For the child to set as its limit. */
uint64_t mark_of(uint64_t token);
/* The token that the process is marked with; 0: none, or it may not be read. */
uint64_t mark_token(int32_t pid);

#endif
