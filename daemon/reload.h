/*
 * Reading batchd.conf again, for daemon.reload and SIGHUP: on a worker, since the file may be
 * anywhere. A file that is wrong changes nothing. Who asks while it is read is answered by another
 * reading after it.
 *
 * Loop thread only.
 */
#ifndef DAEMON_RELOAD_H
#define DAEMON_RELOAD_H

#include "daemon/config.h"
#include "daemon/rpc/server.h"

struct reloader;
struct work;

struct reload_config {
	struct work *work;
	const char *path; /* NULL: there is no place for one, nothing ever changes */
	bool must_exist;
	struct config *config; /* replaced; apply() is called while the one before is still there */
	void (*apply)(void *arg);
	void *arg;
};

struct reloader *reloader_new(const struct reload_config *config);
/* done may be NULL: the log tells. */
void reloader_ask(struct reloader *r, rpc_reloaded_fn done, void *arg);
/* Answers who waits (E_STATE); nothing is applied any more. NULL is fine. */
void reloader_quiet(struct reloader *r);
/* After the workers have ended. NULL is fine; returns NULL. */
struct reloader *reloader_free(struct reloader *r);

#endif
