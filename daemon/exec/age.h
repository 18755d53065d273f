/*
 * How long a process has run, by a clock that nobody sets: that of the kernel's since boot
 * (proc(5), starttime). Any thread.
 */
#ifndef DAEMON_EXEC_AGE_H
#define DAEMON_EXEC_AGE_H

#include <stdint.h>
#include <sys/types.h>

/* Milliseconds, to within a tick; time asleep counts. -1: there is no such process. */
int64_t process_age_ms(pid_t pid);

#endif
