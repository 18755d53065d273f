/*
 * Upgrade in place: told so (SIGHUP), the spawner executes its program anew, which may be a newer
 * one by then. Pid, children, files and connection stay; what is kept in memory goes over in a file
 * of its own (memfd), together with the numbers of the open files. Nothing an op could notice
 * happens.
 *
 * Before the step of no return the program to be is asked, as a child, whether it can take over
 * what this one hands on. One that cannot run at all, or speaks of another layout, is thus left
 * alone, and this one goes on.
 */
#ifndef DAEMON_SPAWNER_HANDOVER_H
#define DAEMON_SPAWNER_HANDOVER_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/cleanup.h"

/* Of the structs below, of struct tree_kin and of the table: changed when one of them is. */
#define HANDOVER_LAYOUT 1

enum { HANDOVER_OWN_SOCKET = 1, HANDOVER_ENDING = 2 };

/* stored for the moment of an exec, never reorder */
struct handover {
	uint64_t magic;
	uint32_t layout;
	uint32_t protocol; /* SW_PROTOCOL of the connection */
	int32_t lock_fd, table_fd, listen_fd;
	int32_t client_fd; /* -1: nobody was served */
	uint32_t flags;
	uint32_t n_ops, n_kin; /* what follows: struct handover_op, struct tree_kin */
	uint32_t reserved;
	uint64_t nofile_soft;
};
static_assert(sizeof(struct handover) == 56, "stored");

/*
 * Executes `program` with the same socket and `--handover FD`. Returns only when it does not come
 * about: -errno, or 1 when the program will not or cannot take over; then nothing has changed.
 * Everything there was to say on the connection must have been sent.
 */
int handover_exec(const char *program, const char *socket, const struct handover *h) _must_check_;
/* For `--takes-over LAYOUT`. */
bool handover_takes(int64_t layout);
/* The other side: what stands in the fd; its files are open. 0 or -errno. */
int handover_read(int fd, struct handover *ret) _must_check_;
/* Fills ops and kin in, after keep_init. */
void handover_resume(int fd, const struct handover *h);

#endif
