/*
 * Large frames are opened on a thread of their own, one after the other, so that the loop never
 * stands still for one. Until it is opened a frame has not been taken: it lies in its peer's buffer
 * and at that one's charge, nothing behind it is looked at, and with the connection it is gone.
 *
 * Loop thread only.
 */
#ifndef DAEMON_RPC_OPENER_H
#define DAEMON_RPC_OPENER_H

struct request;
struct rpc_conn;
struct rpc_server;

void opener_init(struct rpc_server *s);
/* Once all connections are gone: waits for the frame at hand. */
void opener_done(struct rpc_server *s);
/* The frame (which was put off) is opened when those before it are, and when no earlier call of its
 * connection has to end first; then it is taken. */
void opener_add(struct rpc_conn *c, const struct request *q);
/* What stood in the way may have gone. */
void opener_next(struct rpc_server *s);
/* The connection is about to go, and has a frame here. */
void opener_forget(struct rpc_conn *c);

#endif
