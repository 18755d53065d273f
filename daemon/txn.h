/*
 * A transaction on its way to the store: a list of records that commit together or not at all. The
 * engine (or todo code) builds it on the loop thread; everything handed in is copied. The store
 * thread gathers waiting transactions into one COMMIT (synchronous=FULL) and answers each on the
 * loop thread.
 */
#ifndef DAEMON_TXN_H
#define DAEMON_TXN_H

#include "common/err.h"
#include "common/slice.h"
#include "daemon/record.h"

struct txn;

/* How a transaction ended. */
enum txn_status {
	TXN_DONE,      /* durable */
	TXN_KEY_SAME,  /* its `key` exists with an equal digest: nothing was stored, `existing` is
			  that run */
	TXN_KEY_OTHER, /* ... with another digest: nothing was stored */
	TXN_FAILED     /* nothing was stored; e says why (E_STORAGE) */
};

/* On the loop thread; e is only set for TXN_FAILED. */
typedef void (*txn_done_fn)(void *arg, enum txn_status status, uint64_t existing,
			    const struct err *e);

/* In a done callback after TXN_FAILED: the transaction is not freed but belongs to the caller
 * again, who may commit it later. */
void txn_keep(struct txn *t);
struct txn *txn_new(txn_done_fn done, void *arg); /* done may be NULL */
/* Room for `bytes` of what is added next, so that adding it cannot fail: for what is sized by a
 * client's input. 0 or -ENOMEM. */
int txn_reserve(struct txn *t, size_t bytes) _must_check_;
/* Sets or replaces who is told. */
void txn_on_done(struct txn *t, txn_done_fn done, void *arg);
struct txn *txn_free(struct txn *t); /* without calling done */
bool txn_empty(const struct txn *t);

/*
 * A new run: its row, the batch as stored (batch_strip) and its environment ("NAME=VALUE\0"...),
 * which the store writes to the run's env file and fsyncs before the COMMIT; the file is unlinked
 * when the run's end is committed. The batch may be long and stays the caller's: there until done.
 */
void txn_run_new(struct txn *t, const struct run_row *row, struct slice batch, struct slice env);
/* What was not known yet of the new run with which t begins: run, origin, parent, parent_op,
 * created, state. */
void txn_run_is(struct txn *t, const struct run_row *row);
/* Stores nothing, and fills in the `ms` of these. They are by cmd, and stay the caller's: there
 * until done. */
void txn_took(struct txn *t, struct took_row *rows, size_t n);
/* Stores nothing, and compares the key as txn_run_new does: TXN_DONE where no run has it. */
void txn_key(struct txn *t, const char *key, const uint8_t digest[32]);
/* Replaces the run's changing columns (state, started, ended, summary, messages, order_used). */
void txn_run_update(struct txn *t, const struct run_row *row);
/* Inserts or replaces an op's row. Its run log is fdatasync'ed before the COMMIT when it has
 * output. */
void txn_op(struct txn *t, const struct op_row *row);
/* Replaces the run's set of claimed ops (one row a run); an empty set removes the row. */
void txn_claim(struct txn *t, const struct claim_row *row);
/* An attempt that did not become its op's result (retried): kept as history. */
void txn_attempt(struct txn *t, const struct op_row *row);
/* Inserts or replaces a todo item / appends the event of a list's new revision. */
void txn_todo(struct txn *t, const struct todo_row *row);
void txn_todo_event(struct txn *t, const struct todo_event_row *row);
/*
 * Forgets a run that has ended: from the commit on there is no such run, and its key is free. What
 * is large of it (batch, ops, attempts) is put aside for txn_tidy, its files for
 * store_remove_files.
 */
void txn_forget(struct txn *t, uint64_t run);
/* Notes that the output of an ended run is dropped; its files are for store_remove_files. */
void txn_drop(struct txn *t, uint64_t run, enum run_dropped why, int64_t time);
/*
 * Deletes some of what was put aside, so much that nobody has to wait long, and gives some of the
 * room back to the file system. `wipe`: nothing of what was deleted stays in the log of the
 * database either.
 */
void txn_tidy(struct txn *t, bool wipe);
void txn_group(struct txn *t, const struct group_row *row);
/* The store-wide event revision up to which events may have been sent after this commit. */
void txn_rev(struct txn *t, int64_t rev);

/* For the store: the records in the order they were added. */
enum txn_kind {
	TXN_RUN_NEW,
	TXN_RUN_UPDATE,
	TXN_OP,
	TXN_CLAIM,
	TXN_ATTEMPT,
	TXN_TODO,
	TXN_TODO_EVENT,
	TXN_FORGET,
	TXN_REV,
	TXN_GROUP,
	TXN_DROP,
	TXN_TIDY,
	TXN_KEY,
	TXN_TOOK,
	TXN_KIND_MAX
};
struct txn_record {
	enum txn_kind kind;
	struct txn_record *next;
	union {
		struct {
			struct run_row row;
			struct slice batch, env;
		} run_new;
		struct run_row run;
		struct {
			struct took_row *rows;
			size_t n;
		} took;
		struct op_row op; /* TXN_OP, TXN_ATTEMPT */
		struct claim_row claim;
		struct todo_row todo;
		struct todo_event_row todo_event;
		uint64_t forget;
		struct {
			uint64_t run;
			enum run_dropped why;
			int64_t time;
		} drop;
		bool wipe; /* TXN_TIDY */
		int64_t rev;
		struct group_row group;
		struct {
			const char *key;
			uint8_t digest[32];
		} key;
	};
};
const struct txn_record *txn_first(const struct txn *t);
void txn_finish(struct txn *t, enum txn_status status, uint64_t existing,
		const struct err *e); /* calls done, frees */

#endif
