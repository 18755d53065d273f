/*
 * What verbs do with batchd, said once: connect (starting it where the verb may), call, print.
 * Functions that return an exit status have said on stderr what went wrong when it is not EXIT_OK.
 */
#ifndef CLIENT_CTX_H
#define CLIENT_CTX_H

#include "client/conn.h"
#include "client/verbs.h"
#include "common/buf.h"
#include "common/slice.h"

enum ctx_start {
	CTX_MAY_START,	 /* verbs that submit or change, status, log, todo */
	CTX_NEVER_START, /* wait, cancel, daemon status, ...: not even by waking an activated socket
			  */
};

/* Connects once; later calls find c->conn. */
int ctx_connect(struct ctx *c, enum ctx_start start) _must_check_;
void ctx_disconnect(struct ctx *c);
/*
 * After the connection was lost: waits until batchd listens again, at most 30 s, saying so on
 * stderr. Signals in c's signalfd
 * (-1: none) end the waiting. EXIT_OK, EXIT_NO_DAEMON, or EXIT_SIGNAL + number.
 */
int ctx_reconnect(struct ctx *c, int signal_fd) _must_check_;

/*
 * One request; `params` (NULL: none) holds a packed map. The result replaces what `ret` holds
 * (NULL: dropped). Returns an exit status: EXIT_USAGE where the fault is ours, EXIT_RUN where it is
 * batchd's, EXIT_NO_DAEMON when it went away.
 */
int ctx_call(struct ctx *c, const char *method, const struct buf *params,
	     struct buf *ret) _must_check_;
/* The same where the caller wants the error itself: 0, 1, or -ECONNRESET as conn_call. */
int ctx_try(struct ctx *c, const char *method, const struct buf *params, struct buf *ret,
	    struct err *e) _must_check_;
/* Notes each of the `warnings` of a result. */
void ctx_warnings(struct ctx *c, struct slice reply);

/* Prints a packed value as one JSON document and a newline on stdout; EXIT_OK, or EXIT_RUN when
 * stdout cannot be written. */
int ctx_print_json(struct ctx *c, struct slice value);
/* Writes text to stdout; EXIT_OK, or EXIT_RUN having said so (silently where the reader went away).
 */
int ctx_print(struct ctx *c, const struct buf *text);
/* The same after something was changed: where stdout cannot be told (`printed`), stderr is what was
 * done, as `text` says it behind `how`. Returns `printed`. */
int ctx_print_changed(struct ctx *c, int printed, const char *how, const struct buf *text);

/* Our folder, as the kernel says it; NULL when it is gone. Static. */
const char *ctx_cwd(void);
/* The project runs of our folder are listed under: the nearest parent that is one, else the folder
 * itself. Malloced. */
char *ctx_project(void);

/* A note on stderr, "batchctl VERB: ...", not under -q. */
void note(const struct ctx *c, const char *fmt, ...) _printf_(2, 3);

#endif
