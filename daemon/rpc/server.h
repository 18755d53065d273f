/*
 * The server of contract section 3: accepts connections, reads requests, answers, and tells
 * subscribers what happens. It owns no truth: the engine has what is live, the store what has been.
 *
 * Loop thread only. Read on in peer.h (bytes), rpc.h (calls), subs.h and follow.h (events), shape.h
 * (what a run looks like).
 */
#ifndef DAEMON_RPC_SERVER_H
#define DAEMON_RPC_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct engine;
struct event;
struct event_base;
struct keeper;
struct output;
struct pk;
struct rpc_server;
struct store;
struct work;

/* What the configuration says now in other words than before, as NAME, BEFORE, AFTER ("" where it
 * says nothing), three a change; or err. */
struct rpc_reloaded {
	const char *path; /* the file; NULL: there is no place for one */
	const char *const *changes;
	size_t n; /* of changes, times three strings */
};
typedef void (*rpc_reloaded_fn)(void *arg, const struct rpc_reloaded *r, const struct err *err);

struct rpc_config {
	struct event_base *base;
	int listen_fd; /* listening, non-blocking; the server's from here on */
	struct engine *engine;
	struct store *store;
	struct keeper *keeper; /* for run.forget */
	struct output *output;
	struct work *work; /* for reading output of ended runs */
	const char *runs_dir;
	char *const *environ_dflt; /* base environment of batches that bring none; constant */
	const char *socket;	   /* where listen_fd is bound: BATCHD_SOCKET of the ops */
	uint32_t max_frame;	   /* bytes; 0: LIMIT_FRAME_BYTES */
	/* Adds keys to the open map that daemon.status answers. */
	void (*status)(void *arg, struct pk *pk);
	/* daemon.reload: answers when the configuration has been read and holds, or was refused. */
	void (*reload)(void *arg, rpc_reloaded_fn done, void *done_arg);
	/* daemon.stop: called from a handler, with its answer queued. */
	void (*stop)(void *arg, bool drain);
	void *arg;
	/* For tests: handlers by enum method_id instead of rpc_handlers. */
	const struct rpc_row *handlers;
};

/* Strings are borrowed and must outlive the server. */
struct rpc_server *rpc_server_new(const struct rpc_config *config);
/*
 * Closes all connections after a last try to write what is queued. Calls still waiting for the
 * store or the engine may complete later, into nothing; memory is freed with the last of them. NULL
 * is fine; returns NULL.
 */
struct rpc_server *rpc_server_free(struct rpc_server *s);
/* Listens on another socket, non-blocking and the server's from here on, in place of the one it
 * had; connections stay. */
void rpc_server_listen(struct rpc_server *s, int fd);
/* Accepts no connection and takes no request from here on; answers that are due still go out. */
void rpc_server_quiet(struct rpc_server *s);

/* The output of a run is gone: what is open of it is closed, as soon as nobody reads it. */
void rpc_server_removed(struct rpc_server *s, uint64_t run);
/* The longest frame taken from now on. */
void rpc_server_set_max_frame(struct rpc_server *s, uint32_t bytes);

/* The engine's event sink. */
void rpc_server_event(struct rpc_server *s, const struct event *e);
/* Is anybody told of this run's ops? */
bool rpc_server_op_heard(const struct rpc_server *s, uint64_t run);

#endif
