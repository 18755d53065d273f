/*
 * Clocks and durations. Wall time is milliseconds since the epoch and only ever shown; durations
 * and deadlines use the monotonic clock.
 */
#ifndef COMMON_TIMEUTIL_H
#define COMMON_TIMEUTIL_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/slice.h"

int64_t time_wall_ms(void);
int64_t time_mono_ms(void);
int64_t time_mono_ns(void);
/* CLOCK_BOOTTIME: as the kernel notes when processes start. */
int64_t time_boot_ns(void);

/*
 * A duration with units into milliseconds: "500ms", "90s", "10m", "1h30m", "2d", fractions allowed
 * ("1.5s"); digits alone are seconds. False when it is none or beyond 10 000 days.
 */
bool duration_parse(struct slice s, int64_t *ret_ms);
/* For people: "3.1 s", "1 m 05 s", "2 h 03 m". */
void duration_human(struct buf *b, int64_t ms);
/* Exact and parseable by duration_parse: "500ms", "90s". */
void duration_print(struct buf *b, int64_t ms);

#endif
