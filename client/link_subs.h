/*
 * The subscriptions of a link (client/link.h): under our own numbers, so that a daemon that was
 * restarted and counts anew is not noticed.
 */
#ifndef CLIENT_LINK_SUBS_H
#define CLIENT_LINK_SUBS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/conn.h"
#include "common/list.h"

struct link;

struct link_sub {
	struct list list;
	struct link *owner;
	int64_t ours, theirs;
	bool live;   /* `theirs` is of the connection we have */
	int64_t rev; /* of the last event */
	char *method;
	struct buf params;
};

struct link_subs {
	struct list list;
	int64_t last; /* number given */
};

void link_subs_init(struct link_subs *subs);
void link_subs_done(struct link_subs *subs);
/* The connection is gone. */
void link_subs_lost(struct link_subs *subs);

/* A call was answered: remembers it where it is one that subscribes, and appends the result with
 * our number. False: it is none. */
bool link_subs_begin(struct link_subs *subs, const char *method, struct slice params,
		     struct slice result, struct buf *ret);
/* The one that the params of an rpc.unsubscribe name, or NULL. */
struct link_sub *link_subs_named(struct link_subs *subs, struct slice params);
/* Is the number they name one of batchd's? */
bool link_subs_taken(const struct link_subs *subs, struct slice params);
void link_sub_free(struct link_sub *s);

/* A push for one of ours: appends its arguments with our number; *ret_event is the event where it
 * is all there is. False: it is none of ours. */
bool link_subs_event(struct link_subs *subs, const struct conn_in *in, struct buf *ret,
		     struct slice *ret_event);
/* Appends the params to subscribe with once more: not to be told again what was printed before. */
void link_sub_params(const struct link_sub *s, struct buf *ret);
/* It was subscribed once more (`e`: it could not be). Appends the arguments of the push that tells
 * its owner of a resync, and names its method. */
void link_sub_resumed(struct link_sub *s, struct slice result, const struct err *e, struct buf *ret,
		      struct slice *ret_method, struct slice *ret_event);

#endif
