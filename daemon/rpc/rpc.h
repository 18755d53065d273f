/*
 * Requests, answers, and who is on the other side. Private to rpc/.
 *
 * A request becomes a struct rpc_call. Its handler answers at once or later, with rpc_reply() or
 * rpc_fail(): nothing else frees a call, so a handler that forgets to answer leaks and the test
 * that counts calls (rpc_server.n_calls) sees it. A call outlives its connection: it knows it by
 * id, and an answer to nobody is dropped.
 *
 * Order (contract section 3 rule 4): handlers run in the order of arrival. What a handler changes
 * it changes before it returns, but for what the flags of its row say: a run begins with its
 * commit, what was done to one is shown after its commit, what was written to a list can be read
 * from the store after its commit, and what must look before it changes anything goes alone.
 */
#ifndef DAEMON_RPC_RPC_H
#define DAEMON_RPC_RPC_H

#include "common/buf.h"
#include "common/err.h"
#include "common/list.h"
#include "common/log_limit.h"
#include "common/table.h"
#include "daemon/rpc/peer.h"
#include "daemon/rpc/request.h"
#include "daemon/rpc/server.h"
#include "proto/errors.h"
#include "proto/methods.h"
#include "proto/pack.h"

struct rpc_call;
struct rpc_conn;

/* params: the method's struct params_..., good for the call only, like all that it points to. */
typedef void (*rpc_handler)(struct rpc_call *call, const void *params);

enum row_flags {
	ROW_MAKES_RUNS = 1,  /* takes effect with its answer */
	ROW_SEES_RUNS = 2,   /* waits for those before it on its connection */
	ROW_MAKES_TODOS = 4, /* is in the store with its answer */
	ROW_SEES_TODOS = 8,  /* reads the store: waits for those before it on its connection */
	ROW_READS = 16, /* answers after reading the disk: at most RPC_READS_MAX at a time for a
			   connection */
	ROW_ALONE = 32, /* reads and then changes: nothing more of its connection is taken until it
			   is answered */
	ROW_ACTS = 64,	/* on runs, and is shown with its answer: what shows runs waits for those
			   before it on its connection */
};

struct rpc_row {
	rpc_handler fn; /* NULL: not offered */
	unsigned flags;
	/* Where there is much to do with the params that needs nothing but them: called before fn,
	 * on any thread. What it returns is call->prepared; fn takes it, or else drop does. */
	void *(*open)(const struct rpc_config *config, const void *params);
	void (*drop)(void *prepared);
};
extern const struct rpc_row rpc_handlers[METHOD_MAX];

#define RPC_READS_MAX 4
#define RPC_PENDING_MAX 16384 /* calls of one connection without an answer */

struct rpc_server {
	struct rpc_config config;
	struct peer_hub hub;
	struct rpc_conn *conns; /* by id */
	uint64_t last_conn;
	uint32_t n_conns, max_conns;
	uint32_t n_calls;
	bool freed;
	struct log_limit log_closed, log_refused;
	struct event *ev_log_rest; /* armed while lines are left out */
	struct event *ev_accept, *ev_accept_again;
	bool quiet;
	struct subs *subs;
	struct waits *waits;
	struct logcache *logs;
	struct answers *answers;
	/* rpc_output.c */
	struct list outputs; /* that wait to be read */
	unsigned n_outputs;  /* that are read, or are read and not answered */
	/* opener.c */
	struct work *opener;	 /* one thread, for what would hold the loop */
	struct list openings;	 /* frames that wait for it */
	struct opening *opening; /* the one it has */
};

struct rpc_conn {
	uint64_t id;
	UT_hash_handle hh;
	struct rpc_server *s;
	struct peer *peer;
	pid_t pid;
	char *client, *cwd; /* from rpc.hello; NULL: not said */
	bool omit_nil;
	struct list calls;				    /* all without an answer */
	struct rpc_call *pending;			    /* of these, requests: by msgid */
	uint32_t n_calls;				    /* of `calls` */
	uint32_t n_reads, n_runs, n_acts, n_todos, n_alone; /* calls whose rows have such flags */
	struct opening *opening;			    /* the frame that is to be taken next */
	uint64_t parent; /* run of the op that it is from (conn_find_parent), 0: none */
	uint32_t parent_op;
	/* subs.c */
	struct list subs;
	size_t notes;	   /* bytes of events in the peer's queue, at most */
	uint64_t dropping; /* events are dropped until the queue is written up to here; 0: they are
			      not */
	uint64_t dropping_subs; /* ... of subscriptions up to this one; later ones have a newer
				   snapshot */
};

struct rpc_call {
	struct rpc_server *s;
	uint64_t conn;
	enum call_kind kind;
	uint32_t msgid;
	bool omit_nil;
	const struct method *method;
	unsigned flags;	 /* of its row, once it has been called */
	struct buf push; /* CALL_ASYNC: what stands before the result */
	unsigned push_depth;
	/* The connection is gone before the answer: not called unless set; must end in rpc_fail().
	 */
	void (*gone)(struct rpc_call *call);
	void *prepared;	  /* by row->open; the handler's */
	void *user;	  /* the handler's */
	struct list list; /* conn->calls */
	UT_hash_handle hh;
};

/* --- answering; frees the call --- */

/* result: one packed value; taken, left empty. */
void rpc_reply(struct rpc_call *call, struct buf *result);
/*
 * Answers with what answers_keep() was given for this question and revision. False: nothing is
 * kept, or the connection waits for other reads, which are to be answered in the order of asking.
 */
bool rpc_reply_again(struct rpc_call *call, struct slice question, uint64_t rev);
void rpc_fail(struct rpc_call *call, const struct err *e);
void rpc_failf(struct rpc_call *call, int sym, const char *fmt, ...) _printf_(3, 4);
/*
 * The same for what was looked up in the todo lists, which show writes at once: the answer goes
 * when they are stored (E_STORAGE: they could not be).
 */
void rpc_reply_stored(struct rpc_call *call, struct buf *result);
void rpc_fail_stored(struct rpc_call *call, const struct err *e);
/* What these do: fn is called when it may be answered, with NULL or that error. `bytes` count as
 * the connection's meanwhile. */
void rpc_once_stored(struct rpc_call *call, size_t bytes,
		     void (*fn)(void *arg, const struct err *err), void *arg);
/* A packer into b with the connection's omit_nil. */
struct pk rpc_pk(const struct rpc_call *call, struct buf *b);
/* At the end: outputs that wait to be read are not. */
void rpc_outputs_done(struct rpc_server *s);
/* The connection, or NULL when it is gone. */
struct rpc_conn *rpc_conn_of(const struct rpc_call *call);

/* --- the connection's side --- */

/* Whether a line that clients can cause may be logged now; else it is counted. */
bool rpc_may_log(struct rpc_server *s, struct log_limit *l);

struct rpc_conn *rpc_conn_new(struct rpc_server *s, int fd, pid_t pid);
enum peer_verdict rpc_frame(void *user, struct slice frame, const char **ret_why);
/* Calls what an opened request asks for. */
void rpc_take(struct rpc_conn *c, struct request *q);
/* No call of it is under way that any other would have to wait for. */
bool rpc_conn_settled(const struct rpc_conn *c);
/* The peer's other hooks. */
void rpc_drained(void *user);
void rpc_closed(void *user, const char *why);
bool rpc_expects(void *user);

/*
 * What stands before an event of a push [method, args...] (SLICE_NONE: the default
 * ["batchd.event"]): the frame up to where the event goes, which is always its last value. Returns
 * how many containers are open there.
 */
unsigned rpc_push_prefix(struct slice push, struct buf *b);

/* --- handlers; rpc_ID for each row of proto/methods.def that is offered --- */

void rpc_rpc_hello(struct rpc_call *call, const void *params);
void rpc_rpc_unsubscribe(struct rpc_call *call, const void *params);
void *rpc_batch_open(const struct rpc_config *config, const void *params);
void *rpc_check_open(const struct rpc_config *config, const void *params);
void rpc_batch_drop(void *prepared);
void rpc_batch_submit(struct rpc_call *call, const void *params);
void rpc_batch_check(struct rpc_call *call, const void *params);
void rpc_run_list(struct rpc_call *call, const void *params);
void rpc_run_get(struct rpc_call *call, const void *params);
void rpc_run_wait(struct rpc_call *call, const void *params);
void rpc_run_cancel(struct rpc_call *call, const void *params);
void rpc_run_pause(struct rpc_call *call, const void *params);
void rpc_run_resume(struct rpc_call *call, const void *params);
void rpc_run_restart(struct rpc_call *call, const void *params);
void rpc_run_output(struct rpc_call *call, const void *params);
void rpc_run_plan(struct rpc_call *call, const void *params);
void rpc_run_explain(struct rpc_call *call, const void *params);
void rpc_run_forget(struct rpc_call *call, const void *params);
void rpc_run_subscribe(struct rpc_call *call, const void *params);
void rpc_todo_write(struct rpc_call *call, const void *params);
void rpc_todo_list(struct rpc_call *call, const void *params);
void rpc_todo_update(struct rpc_call *call, const void *params);
void rpc_todo_claim(struct rpc_call *call, const void *params);
void rpc_todo_release(struct rpc_call *call, const void *params);
void rpc_todo_remove(struct rpc_call *call, const void *params);
void rpc_todo_history(struct rpc_call *call, const void *params);
void rpc_todo_restore(struct rpc_call *call, const void *params);
void rpc_todo_lists(struct rpc_call *call, const void *params);
void rpc_todo_subscribe(struct rpc_call *call, const void *params);
void rpc_group_list(struct rpc_call *call, const void *params);
void rpc_group_set(struct rpc_call *call, const void *params);
void rpc_daemon_status(struct rpc_call *call, const void *params);
void rpc_daemon_reload(struct rpc_call *call, const void *params);
void rpc_daemon_stop(struct rpc_call *call, const void *params);

#endif
