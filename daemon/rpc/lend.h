/*
 * A program inside an op that waits for a run, by run.wait or by a subscription to that run, lends
 * the op's slots meanwhile: else batches that submit batches would wait for each other for ever.
 */
#ifndef DAEMON_RPC_LEND_H
#define DAEMON_RPC_LEND_H

#include <stdbool.h>
#include <stdint.h>

struct rpc_conn;
struct rpc_server;

/* Whose slots are lent; run 0: nobody's. Embedded, and stays where it is until it has ended. */
struct lend {
	uint64_t run;
	uint32_t op;
	bool returning; /* the wait is over, the slots are yet to come */
	void (*fn)(void *arg);
	void *arg;
};

/*
 * Looks up the op that the environment of the peer names: when it connects, for it may be gone by
 * the time what it asked for is read. The environment is inherited by whatever an op leaves behind,
 * and may name another daemon's op: so its owner must be us and, when it is asked for, the op must
 * be running.
 */
void conn_find_parent(struct rpc_conn *c);
/* The running op that the connection's program belongs to; false: none. */
bool conn_parent(struct rpc_conn *c, uint64_t *ret_run, uint32_t *ret_op);
/* Begins to wait: if the connection is from inside a running op, its slots are lent until lend_end.
 */
void lend_begin(struct rpc_conn *c, struct lend *ret);
/* The wait is over and can be told when the slots are there. True: fn is called then, later; false:
 * they are, or nothing was lent. */
bool lend_return(struct rpc_server *s, struct lend *l, void (*fn)(void *arg), void *arg);
/* The program goes on whatever it waited for: it has its slots at once. */
void lend_end(struct rpc_server *s, struct lend *l);

#endif
