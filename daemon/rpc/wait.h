/*
 * run.wait: who waits for which runs to end. A wait costs nothing until it is over: a run's end is
 * looked up by its id.
 */
#ifndef DAEMON_RPC_WAIT_H
#define DAEMON_RPC_WAIT_H

struct event;
struct rpc_server;
struct waits;

struct waits *waits_new(struct rpc_server *s);
/* All waiting calls must have been answered or dropped. NULL is fine. */
struct waits *waits_free(struct waits *w);
void waits_event(struct waits *w, const struct event *e);

#endif
