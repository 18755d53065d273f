/*
 * Deadlines in a binary heap: O(log n) to arm, disarm and take the next. A timer is embedded in
 * what it is about; an unarmed one has pos 0. Monotonic milliseconds.
 */
#ifndef ENGINE_TIMERS_H
#define ENGINE_TIMERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum timer_kind {
	TIMER_OP,
	TIMER_READY,
	TIMER_MESSAGE,
	TIMER_RUN,
	TIMER_BEGIN,
	TIMER_CLAIMS,
	TIMER_SPACING,
	TIMER_ENGINE
};

struct timer {
	int64_t at_ms;
	size_t pos; /* 1-based place in the heap; 0: not armed */
	enum timer_kind kind;
	void *owner;
};

struct timers {
	struct timer **heap; /* from index 1 */
	size_t len, cap;
};

void timers_done(struct timers *t);
/* (Re-)arms. */
void timer_arm(struct timers *t, struct timer *timer, int64_t at_ms);
void timer_disarm(struct timers *t, struct timer *timer);
/* The earliest, or NULL. */
struct timer *timers_first(const struct timers *t);

#endif
