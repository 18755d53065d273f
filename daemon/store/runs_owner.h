/*
 * Whose files STATE/runs holds. They are named by the numbers of runs, which begin at 1 in every
 * database: beside another one they would be taken for its runs' own, or for files that nobody
 * wants any more. STATE/runs.of says which folder (a copy of it is another) belongs to which
 * database.
 */
#ifndef DAEMON_STORE_RUNS_OWNER_H
#define DAEMON_STORE_RUNS_OWNER_H

#include <stdint.h>

#include "common/err.h"

/* 0: they are of the database `id`, or nobody has said; 1 with e (E_STORAGE). */
int runs_owner_check(const char *state_dir, uint64_t id, struct err *e) _must_check_;
/* From here on they are its. What cannot be written is logged. */
void runs_owner_set(const char *state_dir, uint64_t id);

#endif
