/*
 * A START frame from a spec.
 */
#ifndef DAEMON_EXEC_EXEC_SPAWNER_START_H
#define DAEMON_EXEC_EXEC_SPAWNER_START_H

#include <stdint.h>

#include "daemon/exec/executor.h"
#include "proto/spawn_wire.h"

/* Bytes of the frame; more than SW_PACKET_BYTES: it cannot be sent. */
uint64_t spawner_start_bytes(const struct exec_spec *spec);
void spawner_start_fill(struct sw_start *frame, const struct exec_spec *spec);
/* An fd to read the bytes from, at its beginning; or -errno. */
int spawner_start_stdin(struct slice bytes) _must_check_;

#endif
