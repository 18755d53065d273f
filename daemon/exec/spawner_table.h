/*
 * A look into the table of a spawner (daemon/spawner/table_file.h) where no batchd asks it: for
 * `batchd --check-state`. Reads only, and says nothing to the spawner.
 */
#ifndef DAEMON_EXEC_SPAWNER_TABLE_H
#define DAEMON_EXEC_SPAWNER_TABLE_H

#include <stdint.h>

#include "common/err.h"

/*
 * Do ops run at the spawner's socket that are not of the database `store_id` (0: of a folder that
 * holds none yet)? The spawner would refuse to serve it: 1 with e. Else, or where there is no table
 * to be read, 0.
 */
int spawner_table_check(const char *socket, uint64_t store_id, struct err *e) _must_check_;

#endif
