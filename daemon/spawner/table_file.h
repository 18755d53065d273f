/*
 * The file of the table of attempts (table.h), as it is stored: for the spawner that has it mapped,
 * and for who looks into it where there is no batchd to ask (daemon/exec/spawner_table.h).
 */
#ifndef DAEMON_SPAWNER_TABLE_FILE_H
#define DAEMON_SPAWNER_TABLE_FILE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/spawn_wire.h"

#define TABLE_MAGIC UINT64_C(0x6c62617474616231) /* stored, never renumber */
#define TABLE_LAYOUT 1
#define TABLE_HEAD_BYTES 4096
#define TABLE_SUFFIX ".table" /* beside the socket */

/* What a start failed with; err 0: it did not. */
struct child_error {
	int32_t err;
	uint32_t step; /* enum sw_step */
};

/* stored, never renumber or reorder; a change is a new TABLE_LAYOUT */
struct record {
	uint64_t token;
	uint32_t state; /* enum sw_state */
	int32_t pid;	/* written by the kernel before the child runs (CLONE_PARENT_SETTID); its
			   session and group as well */
	uint32_t flags; /* SW_START_*, SW_FLAGS_NOTE */
	int32_t wait_status;
	struct child_error failed; /* by the child, before it exits */
	uint32_t lingering;
	uint32_t drain_ms, linger_ms;
	uint32_t cgroup;	      /* number + 1 of its cgroup "op-SLOT.NUMBER", 0: none */
	int64_t started_ms, ended_ms; /* wall clock */
	int64_t started_mono_ns, ended_mono_ns;
	int64_t started_boot_ns; /* CLOCK_BOOTTIME before fork: with pid it tells the process from a
				    later one of that number */
	uint64_t owner_hash;	 /* of its BATCHD_OWNER=..., 0: none; tells our ops from those of a
				    nested batchd */
	int64_t forked_boot_ns;	 /* and after it; 0: not known */
	uint64_t spare[3];
};
static_assert(sizeof(struct record) == 128, "stored");

/* stored, never reorder */
struct table_file {
	uint64_t magic;
	uint32_t layout;
	uint32_t capacity;
	uint64_t store_id;
	char boot_id[40];
	uint64_t table_id;
	int64_t shell_boot_ns;
	int32_t shell;
	char pad[4096 - 84];
	struct record records[SW_CAPACITY];
};
static_assert(offsetof(struct table_file, records) == TABLE_HEAD_BYTES, "stored");

#endif
