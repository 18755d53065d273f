/*
 * STARTs that the spawner has not answered yet. One that was stopped (SIGSTOP), or hangs, keeps its
 * connection and says nothing: that is named as trouble. Private to exec_local*.c.
 */
#ifndef DAEMON_EXEC_EXEC_LOCAL_SENT_H
#define DAEMON_EXEC_EXEC_LOCAL_SENT_H

#include "common/list.h"

struct attempt;
struct event;
struct event_base;
struct exec_local;

struct sent {
	struct list starts;  /* attempts, the oldest first */
	struct event *timer; /* armed only while there are any */
	bool said;
};

void sent_init(struct exec_local *x, struct event_base *base);
void sent_done(struct exec_local *x);
void sent_start(struct exec_local *x, struct attempt *a);
/* It was, or need not be any more. Nothing if it was not sent. */
void sent_answered(struct exec_local *x, struct attempt *a);

#endif
