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
#include <stdint.h>

struct engine;
struct event;
struct event_base;
struct output;
struct pk;
struct rpc_server;
struct store;
struct work;

struct rpc_config {
	struct event_base *base;
	int listen_fd; /* listening, non-blocking; the server's from here on */
	struct engine *engine;
	struct store *store;
	struct output *output;
	struct work *work; /* for reading output of ended runs */
	const char *runs_dir;
	const char *socket; /* where listen_fd is bound: BATCHD_SOCKET of the ops */
	uint32_t max_frame; /* bytes; 0: LIMIT_FRAME_BYTES */
	/* Adds keys to the open map that daemon.status answers. */
	void (*status)(void *arg, struct pk *pk);
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
/* Accepts no connection and takes no request from here on; answers that are due still go out. */
void rpc_server_quiet(struct rpc_server *s);

/* The engine's event sink. */
void rpc_server_event(struct rpc_server *s, const struct event *e);

#endif
