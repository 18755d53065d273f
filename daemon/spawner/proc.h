/*
 * Reading /proc, without allocation: one process, all of them, our children, a process's
 * environment.
 */
#ifndef DAEMON_SPAWNER_PROC_H
#define DAEMON_SPAWNER_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROC_MAX 65536u /* processes looked at */

struct proc {
	int32_t pid, ppid, pgrp, sid;
	char state;	      /* as in proc(5): Z and X are dead */
	bool kernel;	      /* a thread of the kernel's own */
	uint64_t start_ticks; /* since boot */
};

/* Opens /proc and our list of children. 0 or -errno. */
int proc_init(void) __attribute__((warn_unused_result));
/* False when there is no such process. */
bool proc_stat(int32_t pid, struct proc *ret);
/* All processes, dead ones too, ordered by pid; valid until the next call. */
size_t proc_all(const struct proc **ret);
/* The pid among them, or NULL. */
const struct proc *proc_among(const struct proc *all, size_t n, int32_t pid);
/* Our children, dead ones not yet reaped included; valid until the next call. */
size_t proc_children(const int32_t **ret);
/* "NAME=VALUE\0" strings, the first 256 KiB; 0 where it is not to be read. Valid until the next
 * call. */
size_t proc_environ(int32_t pid, const char **ret);

/* Of one whose environment was read as empty: may that be because it is in the middle of an exec?
 */
bool proc_may_execute(int32_t pid);

static inline bool proc_is_dead(const struct proc *p)
{
	return p->state == 'Z' || p->state == 'X';
}

#endif
