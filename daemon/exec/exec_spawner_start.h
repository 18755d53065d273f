/*
 * A START frame from a spec, and what goes with it.
 */
#ifndef DAEMON_EXEC_EXEC_SPAWNER_START_H
#define DAEMON_EXEC_EXEC_SPAWNER_START_H

#include <stdint.h>

#include "daemon/exec/exec_spawner_link.h"
#include "daemon/exec/executor.h"
#include "proto/spawn_wire.h"

/*
 * Sends the frame, and the pipes or terminal of the attempt with it where the spawner takes them:
 * the ends to read from are in ret_ours then, else -1. 0, or -errno with nothing sent and what that
 * is of in *ret_step; -E2BIG: it can never be sent.
 */
int spawner_start_send(struct spawner_link *l, const struct exec_spec *spec, int ret_ours[2],
		       enum sw_step *ret_step) _must_check_;

#endif
