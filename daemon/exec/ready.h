/*
 * Watches services until they are ready, each once: its output holds a text, or something listens
 * on a port of this machine.
 *
 * A text is looked for whenever the run's output is told to have grown, by the file threads, in the
 * run's log, so what an earlier life of this process has moved is found as well. Of a port the
 * kernel tells nobody: that is tried by connect(2), again after 20 ms and then twice as long each
 * time, up to a second. It is the one place in batchd that asks again and again, and only while a
 * service is not ready.
 *
 * All calls and callbacks are on the loop thread; no callback comes before the call that causes it
 * has returned.
 */
#ifndef DAEMON_EXEC_READY_H
#define DAEMON_EXEC_READY_H

#include <stdint.h>

#include "proto/batch.h"

struct event_base;
struct output;
struct readiness;
struct work;

/* `ready`: the service is. */
struct readiness *ready_new(struct event_base *base, struct output *output, struct work *work,
			    void (*ready)(void *arg, uint64_t token), void *arg);
/* After work_free. NULL is fine; returns NULL. */
struct readiness *ready_free(struct readiness *r);
/* `spec` is copied; a token that is watched already stays so. NULL: nothing is told of it any more.
 */
void ready_watch(struct readiness *r, uint64_t token, const struct batch_ready *spec);
/* The attempt's output grew. */
void ready_grew(struct readiness *r, uint64_t token);

#endif
