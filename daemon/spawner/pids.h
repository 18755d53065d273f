/*
 * Which child is whose: an index from pid to node. Nodes below SW_CAPACITY are slots of the table
 * (the op's own process), the others orphans: processes that an op started and whose parent is
 * gone, so that they have become our children. A pid stays indexed until we reap it, and cannot be
 * given to another process before. No allocation.
 */
#ifndef DAEMON_SPAWNER_PIDS_H
#define DAEMON_SPAWNER_PIDS_H

#include <stdint.h>

#include "proto/spawn_wire.h"

#define PIDS_ORPHANS 4096u
#define PIDS_NODES (SW_CAPACITY + PIDS_ORPHANS)
#define PIDS_NONE UINT32_MAX

void pids_add(int32_t pid, uint32_t node);
void pids_remove(int32_t pid);
/* The node, or PIDS_NONE. */
uint32_t pids_find(int32_t pid);

#endif
