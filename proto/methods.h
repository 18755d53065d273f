/*
 * The methods of the wire as data: one row a method (methods.def), one struct and one field table
 * for its params. Server, client, bridges, completion and documentation are all derived from these
 * rows.
 *
 * Decoding borrows: slices point into the params. What a caller left out holds the default named
 * beside it here.
 */
#ifndef PROTO_METHODS_H
#define PROTO_METHODS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/slice.h"
#include "proto/field.h"
#include "proto/todo_item.h"

enum method_flags {
	METHOD_MUTATES = 1,	/* changes what is stored or runs */
	METHOD_NOTIFY_ONLY = 2, /* refused as a request; all others may be either */
};

/* The order is not on the wire. */
enum method_id {
#define X(id, name, params, flags, doc) METHOD_##id,
#include "proto/methods.def"
#undef X
	METHOD_MAX
};

struct method {
	enum method_id id;
	const char *name;
	const struct field *fields; /* ends with FIELD_END */
	const void *defaults;	    /* a struct params_... of params_size bytes */
	uint32_t params_size, flags;
	const char *doc;
};

extern const struct method methods[METHOD_MAX];
extern const char *const wire_run_states[]; /* in the order of enum run_state; NULL-terminated */

/* The method of that name, or NULL. */
const struct method *method_find(struct slice name);
/*
 * Fills `ret` (a struct params_..., any state before) from `params`: the raw array `[]`, `[map]` or
 * `[[]]` of contract section 3 rule
 * 2. 0, or 1 with e filled.
 */
int method_decode(const struct method *m, struct slice params, void *ret,
		  struct err *e) _must_check_;
/*
 * Whom to tell that the params of an rpc.async are refused: fills ret as params_rpc_async.push.
 * False: nobody, since they are no map or the push in them is none.
 */
bool method_async_push(struct slice params, struct slice *ret) _must_check_;
/* Room for any method's params. */
#define METHOD_PARAMS_MAX 512

/* --- rpc --- */

struct params_rpc_hello {
	struct slice client, cwd;
	int64_t protocol; /* 0: not given */
	bool omit_nil, has_omit_nil;
};
struct params_rpc_async {
	struct slice method;
	struct slice params; /* raw value, not looked at: a map, or the array [] or [map]; absent:
				SLICE_NONE */
	struct slice push;   /* raw array; SLICE_NONE: ["batchd.event"] */
};
struct params_rpc_unsubscribe {
	int64_t sub;
};

/* --- batch --- */

struct params_batch_submit {
	struct slice batch;  /* raw map, for plan_make */
	struct slice notify; /* raw array of bytes */
};
struct params_batch_check {
	struct slice batch;
};

/* --- run --- */

enum run_get_ops { RUN_OPS_ALL, RUN_OPS_FAILED, RUN_OPS_NONE };
/* 1 and 2 are what `chunks` says as well. */
enum run_stream { STREAM_BOTH, STREAM_STDOUT, STREAM_STDERR };
enum run_sub_output { SUB_OUTPUT_NONE, SUB_OUTPUT_SIZES, SUB_OUTPUT_DATA };

struct params_run_list {
	uint32_t states; /* 1 << enum run_state for each asked for; 0: all */
	struct slice name, group, project;
	int64_t limit;	/* 100 */
	int64_t before; /* runs with a smaller id; 0: not given */
};
struct params_run_get {
	int64_t run;
	int ops;	/* enum run_get_ops, ALL */
	int64_t offset; /* index of the first op to send, from 1; 1 when not given (0 means 1 too)
			 */
	int64_t limit;	/* -1: not given */
	int64_t output; /* bytes of head and tail each; -1: not given */
};
struct params_run_wait {
	int64_t run;	   /* 0: see runs. Exactly one of the two is given */
	struct slice runs; /* raw array of ids, not empty */
	bool any;
	int64_t timeout_ms; /* -1: no limit */
	int64_t output;	    /* bytes; -1: not given */
};
struct params_run_cancel {
	int64_t run;
	struct op_ref op;
	struct slice signal; /* "TERM", "SIGTERM"; SLICE_NONE: cancel */
	int64_t grace_ms;
	bool has_grace, now;
};
struct params_run_pause {
	int64_t run;
	bool freeze;
};
struct params_run_resume {
	int64_t run;
};
struct params_run_restart {
	int64_t run;
	bool failed;
	struct slice env_base; /* raw map */
};
struct params_run_output {
	int64_t run;
	struct op_ref op;
	int64_t attempt;     /* from 1; 0: the last */
	int stream;	     /* enum run_stream */
	int64_t offset;	     /* -1: not given */
	int64_t limit;	     /* -1: not given */
	int64_t tail, lines; /* -1: not given; at most one of offset, tail, lines is */
};
struct params_run_plan {
	int64_t run;
	int64_t offset; /* index of the first op, from 1; 1 when not given (0 means 1 too) */
	int64_t limit;	/* -1: not given */
};
struct params_run_explain {
	int64_t run;
	struct op_ref op;
};
struct params_run_forget {
	int64_t run;	   /* 0: not given */
	struct slice runs; /* raw array of ids; SLICE_NONE: not given */
	int64_t before;	   /* ended before this, ms since the epoch; 0: not given */
	uint32_t states; /* 1 << enum run_state; 0: not given. At least one of the four is given */
};
struct params_run_subscribe {
	int64_t run;	   /* 0: all */
	int output;	   /* enum run_sub_output, NONE */
	struct slice push; /* raw array [method, args...]; SLICE_NONE: ["batchd.event"] */
	int64_t since;	   /* rev; -1: not given */
};

/* --- todo: `list`, else `cwd` names the list --- */

struct params_todo_write {
	struct slice list, cwd, source;
	struct slice todos; /* raw array, each for todo_item_decode */
	int mode;	    /* enum todos_mode, REPLACE */
	int64_t base_rev;   /* -1: not given */
};
struct params_todo_list {
	struct slice list, cwd, owner;
	uint32_t statuses; /* 1 << enum todo_status; 0: all */
	bool ready;
	int64_t rev;	       /* -1: now */
	int64_t offset, limit; /* limit 0: not given */
};
struct params_todo_update {
	struct slice list, cwd, source;
	int64_t base_rev;      /* -1: not given */
	struct todo_item item; /* id is given; item.meta: raw map or SLICE_NONE. "critical" has
				  become high */
	bool critical;	       /* it was: goes to meta as priority: "critical" */
};
struct params_todo_claim {
	struct slice list, cwd, id, owner; /* id SLICE_NONE: the first that is ready */
	int64_t lease_ms;		   /* 0: no lease */
};
struct params_todo_release {
	struct slice list, cwd, id, owner; /* owner SLICE_NONE: whoever holds it */
};
struct params_todo_remove {
	struct slice list, cwd, id;
	int64_t base_rev; /* -1: not given */
};
struct params_todo_history {
	struct slice list, cwd;
	int64_t since; /* revisions after this one; 0 */
	int64_t limit; /* 100 */
};
struct params_todo_restore {
	struct slice list, cwd;
	int64_t rev;
	int64_t base_rev; /* -1: not given */
};
struct params_todo_lists {
	struct slice list, cwd; /* neither: all lists */
	struct slice after;	/* names after this one; SLICE_NONE: all */
	int64_t limit;		/* LIMIT_INT: not given */
};
struct params_todo_subscribe {
	struct slice list, cwd, push; /* neither list nor cwd: all lists */
};

/* --- group, daemon --- */

struct params_group_list {
	struct slice after; /* names after this one; SLICE_NONE: all */
	int64_t limit;	    /* LIMIT_INT: not given */
};
struct params_group_set {
	struct slice group;
	int64_t slots; /* 0: not given */
	bool paused, has_paused;
};
struct params_daemon_status {
	bool unused;
};
struct params_daemon_stop {
	bool drain;
};
struct params_daemon_reload {
	bool unused;
};

#endif
