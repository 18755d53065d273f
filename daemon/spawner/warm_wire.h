/*
 * What batchd-spawner and the shell it keeps warm (warm.h) say to each other: one packet a start,
 * one packet in answer. Both are of one build.
 */
#ifndef DAEMON_SPAWNER_WARM_WIRE_H
#define DAEMON_SPAWNER_WARM_WIRE_H

#include <stdint.h>

#include "daemon/spawner/child.h"

#define WARM_PACKET_BYTES (128u << 10) /* within what a socket takes by default */
#define WARM_STRINGS_MAX 4096	       /* of argv and environment */
#define WARM_ENV "BATCHD_WARM_SHELL"   /* set for the shell that is to wait */

/* What it is started with, besides stderr. */
enum { WARM_SOCKET_FD = 3, WARM_TABLE_FD = 4 };

/*
 * Followed by the stages, then cwd, argv and environment as strings with their NULs. With it come
 * the fds for stdin, stdout, stderr, and with has_cgroup the folder of the cgroup.
 */
struct warm_request {
	uint64_t nofile_soft, mark;
	uint64_t pid_at; /* where in the table's file the kernel is to write the pid */
	uint32_t slot;	 /* for the answer */
	uint32_t umask;
	uint32_t n_stages, argc, envc;
	uint32_t cwd_bytes, argv_bytes, env_bytes;
	uint8_t tty, has_cgroup, pad[6];
};

/* Once at the start with WARM_HELLO; then from each child when it is about to be the shell, or has
 * failed (and exits), or with pid 0 when there is no child. */
struct warm_answer {
	uint32_t slot;
	int32_t pid;
	struct child_error e;
};
#define WARM_HELLO UINT32_MAX

#endif
