/*
 * Subscriptions: who is told what happens, and how far each has been told.
 *
 * An event is encoded once for all that are told of it, but for `sub`, `rev` and `prev`, which are
 * each subscription's own: the frame is spliced of the subscription's push prefix, a few bytes of
 * its own, and the shared body.
 *
 * A connection has at most LIMIT_QUEUE_BYTES of events unwritten. One event more and each of its
 * subscriptions gets one `resync`; then nothing more is queued until that has been written, and if
 * the peer takes not a byte for SUBS_STUCK_S it is closed. What the client asks for after it has
 * read the resync is newer than all that was dropped.
 *
 * Output (follow.h) is not queued but read from the log as the peer takes it, so it is never
 * dropped and never held in memory.
 */
#ifndef DAEMON_RPC_SUBS_H
#define DAEMON_RPC_SUBS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/list.h"
#include "common/slice.h"
#include "daemon/record.h"
#include "daemon/rpc/lend.h"

struct event;
struct pk;
struct rpc_call;
struct rpc_conn;
struct rpc_server;
struct shared;
struct subs;

#define SUBS_STUCK_S 30

enum sub_kind { SUB_RUN, SUB_TODO };

struct sub {
	uint64_t id;
	enum sub_kind kind;
	struct rpc_conn *conn;
	struct list in_subs, in_conn;
	uint64_t run; /* SUB_RUN; 0: all */
	char *list;   /* SUB_TODO; NULL: all */
	int output;   /* SUB_RUN: enum run_sub_output */
	bool omit_nil, from_now;
	struct buf prefix;	/* the push up to the event */
	int64_t rev;		/* of the last event sent, at first of the snapshot */
	struct lend lend;	/* SUB_RUN of one run: until that has ended */
	struct sub_end *end;	/* its end, which waits for what was lent; NULL: it has not ended */
	struct follow *follows; /* SUB_RUN with output: by run */
};

struct subs *subs_new(struct rpc_server *s);
struct subs *subs_free(struct subs *all); /* NULL is fine; returns NULL */
size_t subs_count(const struct subs *all);

/* Everything that happens. */
void subs_event(struct subs *all, const struct event *e);
bool subs_hear_run(const struct subs *all, uint64_t run);
/* Hooks of the connection. */
void subs_drained(struct rpc_conn *c);
void subs_conn_gone(struct subs *all, struct rpc_conn *c);

/*
 * A new subscription of the call's connection; NULL: it is gone. Of `like` kind, run, list
 * (copied), output and from_now are taken. Its events follow from now on, so: answer now.
 */
struct sub *subs_add(struct rpc_call *call, const struct sub *like, struct slice push);
/* False: the connection has no such. */
bool subs_end(struct rpc_conn *c, uint64_t id);
/* Adds sub and rev to a snapshot. */
void subs_pack(const struct sub *sub, struct pk *pk);

/* --- for follow.c --- */

/* A body: the keys of an event but for sub, rev and prev, from an open-and-closed map in `map`. */
struct body {
	struct shared *bytes;
	uint32_t keys;
};
struct body body_of(const struct buf *map);
void body_done(struct body *body);
struct body body_run_state(const struct run_row *row, int64_t time, bool omit_nil);

/* Events may be queued and there is room for more output. */
bool subs_room(const struct rpc_conn *c);
/* More is held back for the connection than it may have queued. */
void subs_overflow(struct rpc_conn *c);
/* Queues the event; rev is never less than the last one. */
void subs_send(struct sub *sub, const struct body *body, int64_t rev);
int64_t subs_rev(const struct sub *sub);

#endif
