/*
 * A run as run.get, run.wait and run.subscribe show it: its keys, and of its ops as many as fit a
 * reply. Live runs are told by the engine on the loop thread, others by the store on its read
 * thread; both give the same document.
 */
#ifndef DAEMON_RPC_RUNDOC_H
#define DAEMON_RPC_RUNDOC_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "daemon/record.h"
#include "proto/pack.h"

struct logread;
struct rpc_server;
struct sql_reader;

struct rundoc {
	/* what is asked for */
	uint64_t run;
	int ops;	     /* enum run_get_ops */
	int64_t offset;	     /* index of the first op */
	int64_t limit;	     /* -1: none */
	int64_t output;	     /* bytes of head and tail each; -1: no `out` */
	size_t max_bytes;    /* of the document */
	size_t room;	     /* for its keys: see shape_run_keys */
	bool env_names;	     /* of an ended run: the names of its environment too */
	struct logread *log; /* taken where output >= 0; the owner puts it back */

	/* what came of it */
	struct buf b;
	struct pk pk; /* the map is left open: pk_end(), or keys of the caller's first */
	enum run_state state;
	int64_t ended;
	uint32_t n_ops;
	bool failed; /* then err, and b is of no use */
	struct err err;

	/* private */
	uint32_t sent, next;
	bool log_ready;
};

void rundoc_init(struct rundoc *d, uint64_t run, bool omit_nil);
void rundoc_done(struct rundoc *d);
/* Loop thread. False: the run is not live, and d is as it was. */
bool rundoc_live(struct rundoc *d, struct rpc_server *s);
/* Read thread. */
void rundoc_stored(struct rundoc *d, struct sql_reader *r);

#endif
