/*
 * What an epoll event is about: the kind in the upper half of its data, a number (slot, connection)
 * in the lower.
 */
#ifndef DAEMON_SPAWNER_LOOP_H
#define DAEMON_SPAWNER_LOOP_H

#include <stdint.h>

#define LOOP_OP (UINT64_C(1) << 32)
#define LOOP_CONN (UINT64_C(2) << 32)
#define LOOP_LISTEN (UINT64_C(3) << 32)
#define LOOP_SIGNAL (UINT64_C(4) << 32)
#define LOOP_MOUNTS (UINT64_C(5) << 32)
#define LOOP_WARM (UINT64_C(6) << 32)
#define LOOP_PLACE (UINT64_C(7) << 32)
#define LOOP_KIND(data) ((data) & ~UINT64_C(0xffffffff))
#define LOOP_NUMBER(data) ((uint32_t)(data))

#endif
