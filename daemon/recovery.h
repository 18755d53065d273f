/*
 * What a batchd that starts does first: the engine is told the pools, lists and runs that are
 * stored, and what has become of the attempts at their ops meanwhile. Loop thread.
 */
#ifndef DAEMON_RECOVERY_H
#define DAEMON_RECOVERY_H

#include "common/err.h"

struct engine;
struct exec_local;
struct store;
struct todo_lists;

/* 0, or 1 with err: what is stored cannot be read or understood. */
int recovery(struct engine *engine, struct store *store, struct exec_local *local,
	     struct todo_lists *lists, struct err *e) _must_check_;

#endif
