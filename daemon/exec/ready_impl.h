/* What ready.c and the two ways to watch share. */
#ifndef DAEMON_EXEC_READY_IMPL_H
#define DAEMON_EXEC_READY_IMPL_H

#include <stdbool.h>

#include <event2/event.h>

#include "common/list.h"
#include "daemon/exec/idmap.h"
#include "daemon/exec/ready.h"

struct runlog_reader;

struct readiness {
	struct event_base *base;
	struct output *output;
	struct work *work;
	void (*ready)(void *arg, uint64_t token);
	void *arg;
	struct idmap watches; /* by token */
	struct list all;      /* also those that nobody watches and a thread has yet */
};

struct ready_watch {
	struct list all;
	struct readiness *owner;
	uint64_t token;
	bool gone; /* nobody watches it any more */
	/* match */
	char *match; /* NULL: a port */
	size_t match_len;
	struct runlog_reader *log;
	int64_t at[2]; /* looked at so far: of stdout, stderr */
	bool busy;     /* a thread looks */
	bool again;    /* there is more to look at than it knows of */
	bool more;     /* it left some for its next time */
	bool found;
	/* port */
	int port;
	int fds[2]; /* under way: 127.0.0.1, ::1; -1: none */
	struct event *events[2];
	struct event *retry;
	int64_t wait_ms;
};

void ready_match_look(struct ready_watch *w);
void ready_port_begin(struct ready_watch *w);
void ready_port_end(struct ready_watch *w);
/* It is: the watch is over. */
void ready_tell(struct ready_watch *w);
void ready_watch_free(struct ready_watch *w);

#endif
