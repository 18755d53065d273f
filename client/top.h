/*
 * What `batchctl top` knows of the runs it shows: loaded once, kept true by the events of one
 * subscription. Runs of other projects are known and hidden. Of a run with very many ops only the
 * counts are known, asked for again when an event said that they moved.
 */
#ifndef CLIENT_TOP_H
#define CLIENT_TOP_H

#include "client/ctx.h"
#include "client/model.h"

#define TOP_OPS_MAX 5000 /* of larger runs no ops are known one by one */
#define TOP_RECENT 50	 /* ended ones that are shown */

struct top_run {
	struct run_view v;
	char *first; /* the text of its first op, where it has no name; NULL: not asked for yet */
	bool hidden; /* of another project */
	bool loaded; /* its ops are in v */
	bool stale;  /* counts are to be asked for */
	int64_t total, done, failed, running;
};

struct top {
	struct ctx *c;
	char *project; /* NULL: everyone's runs */
	int64_t sub;
	struct top_run *runs; /* newest first */
	size_t n, cap;
	int64_t selected; /* a run's id; 0: the first */
	char *message;	  /* what the last key did; NULL: nothing */
	int asking;	  /* the key that waits for a yes; 0: none */
	bool lost;	  /* batchd is away */
};

/* All functions that ask batchd: 0; -1: the connection is gone. */
int top_load(struct top *t);
int top_event(struct top *t, struct slice event);
/* What the next painting needs to know: the ops of the selected run, counts that moved. */
int top_refresh(struct top *t);
void top_done(struct top *t);

/* The shown run that is selected; NULL: there is none. */
struct top_run *top_selected(struct top *t);
/* Selects the shown run that lies so many further down. */
void top_move(struct top *t, int by);
/* Those that are shown, and of these the ones that have not ended. */
size_t top_shown(const struct top *t, size_t *ret_active);
bool top_is_shown(const struct top *t, const struct top_run *r);

/* The screen as lines. */
void top_lines(struct top *t, int cols, int rows, struct buf *b);

#endif
