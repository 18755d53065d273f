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

/* Whose slots are lent; run 0: nobody's. */
struct lend {
	uint64_t run;
	uint32_t op;
};

/* The running op that the connection's program belongs to; false: none. */
bool conn_parent(struct rpc_conn *c, uint64_t *ret_run, uint32_t *ret_op);
/* Begins to wait: if the connection is from inside a running op, its slots are lent until lend_end.
 */
void lend_begin(struct rpc_conn *c, struct lend *ret);
void lend_end(struct rpc_server *s, struct lend *l);

#endif
