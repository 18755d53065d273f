/*
 * Making many files durable at once. Each fsync(2) waits for the disk; syncfs(2) waits once for all
 * of a file system, also for what others wrote there, and is only used where it does the same:
 * where there are many files, where the file system is one of which that is known, and where little
 * else waits to be written. Private to file_*.c.
 */
#ifndef DAEMON_EXEC_FILE_SYNC_H
#define DAEMON_EXEC_FILE_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* So many on one file system are worth a syncfs. */
#define SYNC_MANY 16

struct sync_item {
	int fd; /* a file's, for writing, or a folder's, for reading */
	dev_t dev;
	bool folder; /* one that may not be read (O_PATH) is not synced either */
	int *result; /* -errno where it could not be synced, else left alone */
	bool done;   /* for sync_items alone */
};

/* Returns when all of them are durable, or have a result. */
void sync_items(struct sync_item *items, size_t n);

#endif
