/*
 * Where the spawner of a state folder is. The next batchd of the folder may listen elsewhere, but
 * its ops are where the last one's spawner is; and a spawner whose table was swept away with its
 * folder (the runtime folder goes at the last logout) knows nothing of ops that had run.
 * STATE/spawner says which socket and which table were in use. In a copy of the folder it says only
 * the latter: the ops are the original's.
 */
#ifndef DAEMON_EXEC_SPAWNER_HOME_H
#define DAEMON_EXEC_SPAWNER_HOME_H

#include <stdint.h>

struct spawner_home {
	char *socket;	   /* NULL: none is known */
	uint64_t table_id; /* 0: none */
};

#define SPAWNER_HOME_INIT                                                                          \
	{                                                                                          \
		NULL, 0                                                                            \
	}

void spawner_home_done(struct spawner_home *h);
/* From the file `path` (NULL or absent: nothing known). */
void spawner_home_read(const char *path, struct spawner_home *ret);
/* Before any op is started there. Not for a power cut, after which nothing runs. */
void spawner_home_write(const char *path, const char *socket, uint64_t table_id);
/* Nothing of ours is there any more. */
void spawner_home_forget(const char *path);

#endif
