/*
 * Gives back the room of parts of a file that are of no use any more. Only whole file system blocks
 * can be freed; of blocks that are freed bit by bit it counts the bytes (16 bytes of memory a
 * block, forgotten beyond a million of them: their room is lost, no more). Private to runlog*.c.
 */
#ifndef DAEMON_EXEC_RUNLOG_HOLE_H
#define DAEMON_EXEC_RUNLOG_HOLE_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/exec/idmap.h"

struct runlog_hole {
	int fd; /* not owned */
	int64_t block;
	struct idmap partial; /* block number: bytes of it that are free */
	bool unable;	      /* the file system cannot punch holes */
};

void runlog_hole_init(struct runlog_hole *h, int fd);
void runlog_hole_done(struct runlog_hole *h);
/* [off, off + len) is of no use; told once for each byte. */
void runlog_hole_free(struct runlog_hole *h, int64_t off, int64_t len);

#endif
