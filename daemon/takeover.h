/*
 * A batchd that systemd has activated finds its state folder held by one that was started by hand
 * or by batchctl. Clients reach the activated one from now on, so the other is asked to stop; it
 * leaves its ops to its spawner, where the activated one finds them.
 */
#ifndef DAEMON_TAKEOVER_H
#define DAEMON_TAKEOVER_H

#include <sys/types.h>

#include "common/err.h"

/* Asks the holder of the lock to stop and waits until it has ended. Blocking, at start-up only; a
 * signal ends the wait. 0: try the lock again; or 1 with e. */
int takeover_ask(pid_t holder, struct err *e) _must_check_;

#endif
