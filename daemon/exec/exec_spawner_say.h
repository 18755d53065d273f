/*
 * The short frames that a spawner is sent about an attempt it knows. While no spawner is there
 * nothing is sent: who needs it done says it again to the next one.
 */
#ifndef DAEMON_EXEC_EXEC_SPAWNER_SAY_H
#define DAEMON_EXEC_EXEC_SPAWNER_SAY_H

#include <stdint.h>

#include "daemon/exec/exec_spawner_link.h"

/* A frame that is a head and no more; `token` may be what else the type says. */
void spawner_say(struct spawner_link *l, enum sw_type type, uint64_t token);
/* The note (0: none) is kept by the spawner before the first signal is sent; one that does not know
 * that frame is only told to stop. */
void spawner_say_stop(struct spawner_link *l, uint64_t token, uint32_t note, int64_t grace_ms);
void spawner_say_signal(struct spawner_link *l, uint64_t token, int signal);

#endif
