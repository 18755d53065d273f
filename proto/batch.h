/*
 * The batch of contract section 1: decoded a piece at a time, and proved whole into a plan, the
 * same way in batchd (at submit) and in batchctl (parse, check), so that both refuse the same
 * things with the same words.
 *
 * Everything borrows from the batch's bytes. A plan keeps no op unpacked: 48 bytes an op and the
 * graph; batch_op_decode() unpacks one op when it is needed.
 */
#ifndef PROTO_BATCH_H
#define PROTO_BATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"
#include "proto/field.h"

/* stored, never renumber */
enum op_kind { KIND_BASH, KIND_EXEC, KIND_WRITE, KIND_EDIT, KIND_READ, KIND_TODOS, KIND_MAX };
enum on_failure { FAIL_STOP, FAIL_CONTINUE, FAIL_KILL };
enum batch_order { ORDER_PARALLEL, ORDER_SERIAL, ORDER_AS_IF_SERIAL };
/* What `halt` counts. */
enum halt_count { HALT_FAIL, HALT_SUCCESS, HALT_DONE };
enum todos_mode { TODOS_REPLACE, TODOS_MERGE };

extern const char *const op_kind_names[];    /* "bash", ..., NULL */
extern const char *const on_failure_names[]; /* "stop", ... */
extern const char *const batch_order_names[];
extern const char *const todos_mode_names[];

struct batch_head {
	struct slice messages; /* raw array */
	struct slice cwd, env_base, env;
	struct slice name, key, group, list, meta;
	struct slice needs_runs, after_any_runs; /* raw arrays of run ids */
	int on_failure, order;
	int64_t priority, jobs, timeout_ms, not_before, delay_ms, output_cap, umask;
	bool held;
	bool has_timeout, has_output_cap, has_umask, has_jobs;
};

struct batch_message {
	struct slice name, ops; /* ops: raw array */
	int on_failure, order;	/* the batch's where not given */
	struct slice halt;	/* as written */
	int64_t timeout_ms, spacing_ms;
	bool always, has_timeout;
};

/* `halt`, read: after so many ends of that kind nothing new is started; `now`: what runs is ended
 * too. */
struct batch_halt {
	enum halt_count count;
	uint32_t limit; /* 0: none */
	bool now;
};

/* "now,fail=1": now or soon, one of fail, success and done, a number from 1 on. */
bool batch_halt_parse(struct slice text, struct batch_halt *ret);

/* When a service is ready: one of the two. */
struct batch_ready {
	int64_t port;	    /* something listens on it, 127.0.0.1 or ::1 */
	struct slice match; /* its output holds that */
	int64_t timeout_ms; /* 0: none */
	bool has_port;
};

struct batch_op {
	int kind;
	struct slice id, cwd, env, todo, description, meta;
	struct slice needs, after_any; /* raw arrays of ids */
	struct slice ok_exits;	       /* raw array of ints; absent: [0] */
	struct slice reads, writes;    /* raw arrays of paths */
	int64_t timeout_ms, retries, retry_delay_ms, weight, output_cap;
	bool has_timeout, has_output_cap;
	bool optional, exclusive, independent, external, detach;
	/* bash, exec */
	struct slice command, shell, argv; /* argv: raw array */
	struct slice stdin_raw, stdin_bytes, stdin_file;
	struct slice ready_raw;
	struct batch_ready ready;
	bool has_stdin, pty, background, has_ready;
	/* write, edit, read */
	struct slice path, content, expect, old_text, new_text;
	int64_t mode, offset, limit; /* mode -1, limit -1: not given */
	bool create_only, append, all;
	/* todos */
	struct slice todos, list; /* todos: raw array */
	int todos_mode;
};

struct plan_op {
	uint32_t off, len; /* the op's map in the batch's bytes */
	uint32_t id_off;   /* of the id's bytes; id_len 0: none */
	uint32_t message;  /* from 0 */
	uint32_t dep;	   /* first of its ndeps in plan.deps */
	uint32_t ndeps;
	uint16_t weight;
	uint8_t id_len;
	uint8_t kind;
	uint8_t optional : 1, exclusive : 1, has_todo : 1, detach : 1, background : 1;
	uint8_t looks : 1; /* a write that depends on what is there: append, create_only, expect */
};

struct plan_message {
	struct batch_message m;
	struct batch_halt halt;
	uint32_t first, count; /* its ops in plan.ops */
	uint32_t index;	       /* from 0 */
};

/* A dependency: the op's index from 0, and whether its success is needed or only its end. */
struct plan_dep {
	uint32_t op : 31;
	uint32_t any : 1;
};

struct plan {
	struct slice raw; /* the batch's bytes; must outlive the plan */
	struct batch_head head;
	struct plan_message *messages;
	struct plan_op *ops;
	struct plan_dep *deps;
	uint32_t n_messages, n_ops, n_deps;
	struct plan_id {
		uint32_t hash;
		uint32_t op; /* index + 1; 0: free */
	} * ids;	     /* open addressing over the ids of ops */
	uint32_t ids_mask;
};

/*
 * Proves the batch (a map that scan has passed) in every respect that needs no file and no
 * database: fields, kinds, ids, needs, cycles, conflicts between file ops of a message
 * (E_CONFLICT), duplicate todo ids, todo references that `todos` ops of this batch could not
 * satisfy are left to the caller. 0 and a plan (plan_free), or 1 with e naming the place and the
 * mend.
 */
int plan_make(struct slice batch, struct plan **ret, struct err *e) _must_check_;
struct plan *plan_free(struct plan *p); /* NULL is fine; returns NULL */

struct pk;
/* Adds a str for each thing that is allowed but probably not meant: more than one item of an owner
 * in_progress. pk stands in an array. */
void plan_warn(const struct plan *p, struct pk *pk);

/* Adds a str for each of a few things that would be better done otherwise: ops that seem to need
 * one another side by side, messages of one op, todos that nothing moves. Guesses. pk stands in an
 * array. */
void plan_advise(const struct plan *p, struct pk *pk);

/* A page of what the ops wait for: an `ops` array and `next` into the open map of pk. */
struct plan_page {
	uint32_t first; /* from 0 */
	int64_t limit;	/* -1: none */
	size_t max_bytes;
	struct pk *pk;
};
void plan_pack_page(const struct plan *p, struct plan_page *page);

/* Unpacks one op of a proved batch. */
void plan_op_decode(const struct plan *p, uint32_t op, struct batch_op *ret);
struct slice plan_op_id(const struct plan *p, uint32_t op);
/* Index of the op with that id, or UINT32_MAX. */
uint32_t plan_find(const struct plan *p, struct slice id);

/* One op from its map (proved or not), without what only the batch as a whole knows. 0, or 1 with
 * e; path as in field_decode. */
int batch_op_decode(struct slice op, const char *path, struct batch_op *ret,
		    struct err *e) _must_check_;
/* Appends the op's working folder, absolute and lexically normal. */
void batch_op_cwd(const struct batch_head *head, const struct batch_op *op, struct buf *b);
/* Appends the file of a write, edit or read op, absolute and lexically normal. */
void batch_op_path(const struct batch_head *head, const struct batch_op *op, struct buf *b);
/* Whether the op calls this exit status a success. */
bool batch_op_exit_ok(const struct batch_op *op, int exit);
/* Appends a raw array of str (argv, ids, paths) as "a\0b\0"; how many they are. */
uint32_t batch_strv(struct slice array, struct buf *b);

/* The field tables, for documentation and completion; an op's rows say in `kinds` (1 << enum
 * op_kind) who has them, 0: all. */
extern const struct field batch_head_fields[], batch_message_fields[], batch_op_fields[];

/* What is shown for an op (command, path or argv), at most LIMIT_TEXT_CHARS characters, valid
 * UTF-8, one line. */
void batch_op_text(const struct batch_op *op, struct buf *b);

/* Appends the batch without env_base and without nil values (but for those of `env`, which remove a
 * name): the form that is stored. Returns the env_base that it left out, borrowed, or SLICE_NONE.
 */
struct slice batch_strip(struct slice batch, struct buf *b);
/* SHA-256 of the batch's meaning: env_base and nil values aside (but for those of `env`, which
 * remove a name), maps sorted by key, str and bin alike, integral floats as integers, an empty
 * array as an empty map. Two submits are "the same batch" when this is equal. */
void batch_digest(struct slice batch, uint8_t ret[32]);
/*
 * The environment of a run as "NAME=VALUE\0" strings: env_base (or `dflt`, a NULL-terminated
 * environ, where absent) with env laid over it (nil removes), sorted by name, each name once. What
 * belongs to the caller's own service is taken out of the base: BATCHD_*, and systemd's
 * NOTIFY_SOCKET, LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES, WATCHDOG_PID, WATCHDOG_USEC.
 */
void batch_env(const struct batch_head *head, char *const *dflt, struct buf *b);

#endif
