/*
 * One connection to batchd: MessagePack-RPC (contract section 3) as a blocking client. One thread.
 * Requests are queued by conn_send and written while conn_next waits; what arrives is pulled, one
 * reply or event at a time, so nothing ever calls back. Every frame passes the scanner before it is
 * read.
 */
#ifndef CLIENT_CONN_H
#define CLIENT_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

struct conn;

enum conn_got {
	CONN_REPLY,   /* msgid, and error or body */
	CONN_EVENT,   /* body: the event's map */
	CONN_SIGNAL,  /* signal */
	CONN_INPUT,   /* the watched fd can be read */
	CONN_TIMEOUT, /* the deadline passed */
	CONN_CLOSED,  /* batchd went away, or sent what is no frame; nothing more will come */
};

struct conn_in {
	enum conn_got got;
	uint32_t msgid;
	bool failed; /* CONN_REPLY: `error` is filled */
	struct err error;
	struct slice body; /* result or event; valid until the next call on this connection */
	/* CONN_EVENT: what the subscription's `push` named, and its arguments as a raw array. Where
	 * those are not just the event, `body` is absent. */
	struct slice method, args;
	int signal;
};

/*
 * Connects to the socket and says hello (client "batchctl", cwd). 0; -errno when nobody listens
 * there (nothing in e); 1 with e filled when what listens will not talk to us.
 */
int conn_open(const char *socket, const char *cwd, struct conn **ret, struct err *e) _must_check_;
/* The same in two steps. The first: 0 or -errno; -ETIMEDOUT when others wait before us and it has
 * not taken us within `ms` (negative: for ever). The second is what it answers to our greeting, as
 * of conn_open; -ETIMEDOUT when it has not within `ms`: it may be waited for again. */
int conn_connect(const char *socket, const char *cwd, int64_t ms, struct conn **ret) _must_check_;
int conn_greet(struct conn *c, int64_t ms, struct err *e) _must_check_;
/* conn_open where neither the greeting nor any later call may take longer: -ETIMEDOUT from both. */
int conn_open_within(const char *socket, const char *cwd, int64_t ms, struct conn **ret,
		     struct err *e) _must_check_;
struct conn *conn_free(struct conn *c); /* NULL is fine; returns NULL */

/* Queues a request; params is one packed map, or SLICE_NONE. Returns its msgid. */
uint32_t conn_send(struct conn *c, const char *method, struct slice params);
/* Queues a notification. */
void conn_notify(struct conn *c, const char *method, struct slice params);
/* For a loop of one's own, which then takes what came by conn_next with a deadline of 0. */
int conn_fd(const struct conn *c);
bool conn_wants_write(const struct conn *c);
/*
 * The next thing that happens: a reply, an event (those put aside by conn_call first), a signal
 * from the signalfd, or the deadline (time_mono_ms; negative: none).
 */
enum conn_got conn_next(struct conn *c, int64_t deadline_ms, struct conn_in *ret);
/*
 * Sends and waits for the reply. Events that come meanwhile are kept for conn_next; signals are
 * left to their fd. The result replaces what `ret` (may be NULL) holds. 0; 1 with e filled: an
 * error reply; -ECONNRESET with e filled: the connection is gone.
 */
int conn_call(struct conn *c, const char *method, struct slice params, struct buf *ret,
	      struct err *e) _must_check_;
/* A signalfd for conn_next to watch, -1: none. Not owned. */
void conn_watch_signals(struct conn *c, int signal_fd);
/* An fd whose input ends conn_next, too: a terminal. -1: none. Not owned. */
void conn_watch_input(struct conn *c, int fd);
/* Who listens at the other end (SO_PEERCRED), 0 when unknown. */
pid_t conn_peer_pid(const struct conn *c);

#endif
