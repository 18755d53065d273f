/*
 * The table of attempts: one fixed record each in a file mapped shared, so that what is known
 * survives kill -9 of the spawner (and of batchd) at the price of a memory store. Records are
 * written field by field, `state` last, in program order: a process killed in between leaves the
 * older state and fields that nobody reads in it.
 *
 * Beside the file, in memory: an index by token and the list of free slots, rebuilt at start. A
 * slot keeps its number while it is in use. No allocation after table_open.
 */
#ifndef DAEMON_SPAWNER_TABLE_H
#define DAEMON_SPAWNER_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "daemon/spawner/table_file.h"
#include "proto/spawn_wire.h"

#define TABLE_NONE UINT32_MAX

/*
 * Maps `path`, made first if it is missing or of another boot or layout. Every block is allocated
 * before it is mapped: on a full file system a store would be SIGBUS. Records of this boot stay. 0
 * or -errno.
 */
int table_open(const char *path) _must_check_;
/* The same for a table that is open already; the fd is ours when it returns 0. */
int table_take(int fd) _must_check_;
/*
 * What the open table holds, in a new file: 0, and that is the table from here on, or -errno, and
 * nothing has changed. Nobody else may have the old one mapped.
 */
int table_move(const char *path) _must_check_;
int table_fd(void);
/*
 * At the end. A table that holds nothing shrinks to its head, which stays: with it stays the number
 * by which batchd tells that this is the table it knew, and not one begun anew after the old one
 * was swept away with everything in it.
 */
void table_close(void);
/* The folder whose ops these are; 0 as long as nobody has said. */
uint64_t table_store_id(void);
/* A number drawn when the table was begun or last forgot all (table_reset). */
uint64_t table_id(void);
/* Forgets all and belongs to another folder. */
void table_reset(uint64_t store_id);
const char *table_boot_id(void);

/* The shell that is kept warm for the ops here (warm.h), and CLOCK_BOOTTIME before it began; 0:
 * none. */
void table_set_shell(int32_t pid, int64_t started_boot_ns);
int32_t table_shell(int64_t *ret_started_boot_ns);
/* Of something in a record, from the beginning of the file. */
uint64_t table_offset(const void *in_record);

/* Slots beyond `limit` (at most SW_CAPACITY) are not handed out. */
void table_set_capacity(uint32_t limit);
uint32_t table_capacity(void);
uint32_t table_used(void);

/* All slots in use are below this. */
uint32_t table_end(void);
struct record *table_at(uint32_t slot);
/* Slot of the token, or TABLE_NONE. */
uint32_t table_find(uint64_t token);
/* A cleared record with the token, state SW_FREE until the caller says more; TABLE_NONE when full.
 */
uint32_t table_add(uint64_t token);
void table_remove(uint32_t slot);
/* Sets the state after everything else that was written to the record. */
void table_set_state(struct record *r, enum sw_state state);

#endif
