/*
 * A connection to batchd for programs that live long and wait for more than batchd: calls with a
 * callback, subscriptions, a daemon that is restarted meanwhile. One thread; only conn_open and
 * the starting of a daemon block, and those briefly.
 *
 * When batchd goes away, another is looked for during 30 s (contract section 4). Calls made
 * meanwhile wait for it. Calls that were under way are made again where they change nothing (or
 * hold a `key`), else they fail, since nobody can say whether they were done. Subscriptions are
 * made again however long it takes, under the number they have here, which is why that is our own:
 * their owner sees one `resync`. Who said hello says it again.
 */
#ifndef CLIENT_LINK_H
#define CLIENT_LINK_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/verbs.h"
#include "common/err.h"
#include "common/slice.h"

struct link;

/* The answer: a packed result, or e. Neither outlives the call. */
typedef void (*link_reply_fn)(void *arg, struct slice result, const struct err *e);
/* A push of batchd's: `args` is a raw array; `event` is the one map in it, absent where it holds
 * anything else. */
typedef void (*link_push_fn)(void *arg, struct slice method, struct slice args, struct slice event);

/* Connects at the first call. `may_start`: starting a daemon where none runs, for calls other than
 * daemon.status and daemon.stop. */
struct link *link_new(struct ctx *c, bool may_start, link_push_fn push, void *arg);
/* Calls that have no answer yet get an error. NULL is fine; returns NULL. */
struct link *link_free(struct link *l);

/* `params`: a packed map, or SLICE_NONE. `reply` is never called before this has returned. */
void link_call(struct link *l, const char *method, struct slice params, link_reply_fn reply,
	       void *arg);
void link_notify(struct link *l, const char *method, struct slice params);

/* Calls without an answer. */
size_t link_pending(const struct link *l);
/* What to wait for; fd -1 where there is nothing. `reading` false: leave what comes in the socket.
 */
void link_poll(const struct link *l, bool reading, struct pollfd *ret);
/* When link_step must be called at the latest (time_mono_ms); -1: no need. */
int64_t link_deadline(const struct link *l);
/* Takes what came, connects where it is time, calls back. Call it in every turn. */
void link_step(struct link *l, bool reading);

#endif
