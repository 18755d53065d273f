/*
 * `batchctl mcp`: a Model Context Protocol server on stdio for coding agents. What several of the
 * mcp_*.c files share; one thread, one loop (mcp.c).
 *
 * Two eras of the protocol on one stdin (https://modelcontextprotocol.io/specification): clients
 * up to 2025-11-25 shake hands with `initialize`; from 2026-07-28 on each request says its
 * version, results say `resultType` and how long they keep, and subscriptions are streams. A
 * request is answered in the era it was asked in.
 *
 * Results are json_t: a few kilobytes, since a model reads them.
 */
#ifndef CLIENT_MCP_H
#define CLIENT_MCP_H

#include <jansson.h>

#include "client/frames.h"
#include "client/link.h"
#include "client/verbs.h"
#include "common/list.h"
#include "proto/methods.h"

/* -32002 until 2025-11-25, since then an invalid param. */
#define MCP_NO_RESOURCE (-32002)
#define MCP_BAD_VERSION (-32022)

#define MCP_OP_BYTES 8192     /* output of an op in an answer */
#define MCP_BATCH_BYTES 32768 /* of all ops of it */
#define MCP_OPS 50	      /* listed in an answer; the others are counted */
#define MCP_WAIT_S 50	      /* clients give up after 60 */
#define MCP_OP_TIMEOUT "10m"

struct mcp {
	struct ctx *c;
	struct frames frames;
	struct link *link;
	const struct strv *pass_env; /* names that reach the ops though they look like secrets */
	struct list requests;
	struct list watches; /* mcp_watch.c */
	char *client;	     /* who calls: the source of todos */
	char *base;	     /* the folder of the project */
	bool greeted;	     /* hello was said on the link */
	int64_t keys;	     /* made so far */
	int64_t begun;
};

/* A request of the client's, until it is answered. Freed by mcp_result and mcp_error. */
struct mcp_request {
	struct list list;
	struct mcp *m;
	json_t *id, *params;
	bool modern;
	bool cacheable; /* its result says how long it keeps */
	bool is_tool;	/* errors of batchd's are results of the tool */
	bool cancelled; /* it gets no answer */
	json_t *token;	/* of progress; NULL: none wanted */
	json_t *args;	/* of the tool (borrowed from params) */
	const struct mcp_tool *tool;
	int64_t run, sub; /* that it waits for; the subscription that tells of its progress */
	int64_t ended, total, told, told_at;
	int64_t wait_ms;
	void (*next)(struct mcp_request *r, json_t *result); /* takes the answer, borrowed */
	json_t *kept;					     /* between two calls */
	char *uri;
};

struct mcp_tool {
	const char *name, *title, *description;
	int method; /* enum method_id: whose params it takes */
	bool destructive, idempotent;
	void (*call)(struct mcp_request *r);
	json_t *(*input)(const struct mcp_tool *t); /* NULL: the params of the method */
	const char *output;			    /* JSON text of the schema */
};

extern const struct mcp_tool mcp_tools[];
extern const size_t mcp_n_tools;
const struct mcp_tool *mcp_tool_find(const char *name);
json_t *mcp_tools_list(void);

/* --- mcp.c: answering --- */

/* Each takes `result` and frees r. */
void mcp_result(struct mcp_request *r, json_t *result);
void mcp_structured(struct mcp_request *r, json_t *structured);
/* What went wrong in a tool, for the model to mend. */
void mcp_tool_error(struct mcp_request *r, const char *text);
void mcp_error(struct mcp_request *r, int code, const char *text, json_t *data);
/* Asks batchd; `params` is taken. The answer goes to `next`, an error to the client; of a cancelled
 * request neither. */
void mcp_ask(struct mcp_request *r, const char *method, json_t *params,
	     void (*next)(struct mcp_request *r, json_t *result));
/* Asks without waiting for the answer. */
void mcp_tell(struct mcp *m, const char *method, json_t *params);
void mcp_notify(struct mcp *m, const char *method, json_t *params);
/* A request that was cancelled is over. */
void mcp_request_free(struct mcp_request *r);

/* --- mcp_run.c --- */

void mcp_batch_run(struct mcp_request *r);
void mcp_batch_submit(struct mcp_request *r);
void mcp_run_status(struct mcp_request *r);
void mcp_run_cancel(struct mcp_request *r);
void mcp_run_output(struct mcp_request *r);
void mcp_todo(struct mcp_request *r);
/* An event of a run: false where it is of no request. */
bool mcp_run_event(struct mcp *m, int64_t sub, json_t *event);
/* The client has cancelled it. */
void mcp_run_abandon(struct mcp_request *r);

/* --- mcp_batch.c --- */

/* The batch that a call asks for, ready for batch.submit; NULL with e. */
json_t *mcp_batch(struct mcp *m, const json_t *args, struct err *e);
bool mcp_env_is_secret(const char *name, size_t len);

/* --- mcp_show.c --- */

/* A run with its ops as a model reads it: `failed` and `all` are two answers of run.get. */
json_t *mcp_show_run(json_t *failed, json_t *all);
/* Appends the bytes of a string or {"$bin"}. */
void mcp_bytes(const json_t *v, struct buf *ret);
/* As a string of JSON: what is not UTF-8 becomes U+FFFD. */
json_t *mcp_lossy(struct slice bytes, bool *ret_lossy);

/* --- mcp_resource.c, mcp_watch.c --- */

void mcp_resources_list(struct mcp_request *r);
void mcp_resources_templates(struct mcp_request *r);
void mcp_resources_read(struct mcp_request *r);
/* What a URI of ours names. */
struct mcp_place {
	enum { PLACE_NONE, PLACE_TODOS, PLACE_RUN, PLACE_OUTPUT } kind;
	char *list; /* PLACE_TODOS; malloced */
	int64_t run, op;
	const char *stream; /* "both", "stdout", "stderr" */
};
bool mcp_place(const char *uri, struct mcp_place *ret);
void mcp_no_resource(struct mcp_request *r, const char *uri);

void mcp_subscribe(struct mcp_request *r);
void mcp_unsubscribe(struct mcp_request *r);
void mcp_listen(struct mcp_request *r);
bool mcp_listen_cancel(struct mcp *m, const json_t *id);
bool mcp_watch_event(struct mcp *m, int64_t sub, json_t *event);
/* The stream has ended: what it watched is watched no more. */
void mcp_watch_forget(struct mcp *m, const struct mcp_request *stream);
/* Tells what changed in this turn. */
void mcp_watch_flush(struct mcp *m);
/* Ends all; streams are answered. */
void mcp_watch_done(struct mcp *m);

/* --- mcp_schema.c --- */

/* A JSON schema of a field table, without what `skip` (NULL-terminated) names. */
json_t *mcp_schema(const struct field *table, const char *const *skip);
json_t *mcp_schema_batch_run(const struct mcp_tool *t);
json_t *mcp_schema_batch_submit(const struct mcp_tool *t);
json_t *mcp_schema_run_status(const struct mcp_tool *t);
json_t *mcp_schema_run_output(const struct mcp_tool *t);
json_t *mcp_schema_todo(const struct mcp_tool *t);

/* --- mcp_config.c, agents.c --- */

int mcp_config(struct ctx *c, const char *client);
extern const char agents_page[], agents_short[];

int mcp_serve(struct ctx *c, const struct strv *pass_env);

#endif
