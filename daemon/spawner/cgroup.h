/*
 * A cgroup of its own for every op, where a part of the version 2 tree has been given to us: the
 * cgroup we run in is marked as delegated (systemd's Delegate=yes) or belongs to our user. It tells
 * whose a process is whatever the process does, and ends all of it at once. Everything else works
 * without.
 *
 * Groups are named after the op's slot and used again: making and removing one costs more than
 * starting a process. No controller is switched on.
 */
#ifndef DAEMON_SPAWNER_CGROUP_H
#define DAEMON_SPAWNER_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

/* Once, at start; false: there are none to be had. */
bool cgroup_init(void);
bool cgroup_have(void);
/* The group of a slot, empty, as the fd of its folder (borrowed); -1: none, the op runs without. */
int cgroup_take(uint32_t slot);
/* What to keep in the op's record: number + 1 of the slot's group, 0: none; and the group found
 * again by it. */
uint32_t cgroup_number(uint32_t slot);
void cgroup_again(uint32_t slot, uint32_t number);
/* The op has ended. What was left in the group keeps it, and the slot gets another. */
void cgroup_leave(uint32_t slot);
/* KILL to all in it. */
void cgroup_kill(uint32_t slot);
/* The slot whose group the process is in, or UINT32_MAX. */
uint32_t cgroup_of(int32_t pid);
/* Removes those that are empty: what a predecessor left, or (at the end) all. */
void cgroup_sweep(bool all);

#endif
