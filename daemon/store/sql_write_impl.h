/* What sql_write.c and sql_forget.c share; inside daemon/store only. */
#ifndef DAEMON_STORE_SQL_WRITE_IMPL_H
#define DAEMON_STORE_SQL_WRITE_IMPL_H

#include "daemon/store/sql_write.h"

enum statement {
	W_BEGIN,
	W_COMMIT,
	W_SEQ,
	W_BOOT,
	W_REV,
	W_GROUP,
	W_NEXT_RUN,
	W_KEY,
	W_RUN_NEW,
	W_BATCH,
	W_RUN_UPDATE,
	W_OP,
	W_ATTEMPT,
	W_CLAIM,
	W_CLAIM_NONE,
	W_TODO,
	W_TODO_REV,
	W_TODO_EVENT,
	W_LOG_BYTES,
	W_DROP,
	W_FORGET_RUN,
	W_GONE,
	W_GONE_FIRST,
	W_GONE_OPS,
	W_GONE_ATTEMPTS,
	W_GONE_BODY,
	W_GONE_BATCH,
	W_GONE_DONE,
	W_TOOK,
	W_MAX
};

/* Runs a statement with one parameter. A SQLite result code, as all of these. */
int writer_ints(struct writer *w, enum statement which, int64_t v) _must_check_;

/* --- sql_forget.c: one record each --- */
int writer_forget(struct writer *w, const struct txn_record *r) _must_check_;
int writer_drop(struct writer *w, const struct txn_record *r) _must_check_;
int writer_tidy(struct writer *w, const struct txn_record *r) _must_check_;
/* After the commit of a TXN_TIDY. */
void writer_tidied(struct writer *w, bool wipe);

#endif
