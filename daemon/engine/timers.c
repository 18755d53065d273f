#include "daemon/engine/timers.h"

#include <stdlib.h>

#include "common/xalloc.h"

void timers_done(struct timers *t)
{
	free(t->heap);
	*t = (struct timers){ 0 };
}

static void timers_put(struct timers *t, size_t pos, struct timer *timer)
{
	t->heap[pos] = timer;
	timer->pos = pos;
}

static void timers_up(struct timers *t, size_t pos)
{
	struct timer *timer = t->heap[pos];
	for (; pos > 1 && t->heap[pos / 2]->at_ms > timer->at_ms; pos /= 2)
		timers_put(t, pos, t->heap[pos / 2]);
	timers_put(t, pos, timer);
}

static void timers_down(struct timers *t, size_t pos)
{
	struct timer *timer = t->heap[pos];
	for (size_t child; (child = pos * 2) <= t->len; pos = child) {
		if (child < t->len && t->heap[child + 1]->at_ms < t->heap[child]->at_ms)
			child++;
		if (t->heap[child]->at_ms >= timer->at_ms)
			break;
		timers_put(t, pos, t->heap[child]);
	}
	timers_put(t, pos, timer);
}

void timer_arm(struct timers *t, struct timer *timer, int64_t at_ms)
{
	timer_disarm(t, timer);
	if (t->len + 2 > t->cap) {
		t->cap = t->cap ? t->cap * 2 : 64;
		t->heap = xrealloc(t->heap, t->cap, sizeof(t->heap[0]));
	}
	timer->at_ms = at_ms;
	timers_put(t, ++t->len, timer);
	timers_up(t, t->len);
}

void timer_disarm(struct timers *t, struct timer *timer)
{
	size_t pos = timer->pos;
	if (pos == 0)
		return;
	timer->pos = 0;
	struct timer *last = t->heap[t->len--];
	if (last == timer)
		return;
	timers_put(t, pos, last);
	timers_up(t, pos);
	timers_down(t, last->pos);
}

struct timer *timers_first(const struct timers *t)
{
	return t->len ? t->heap[1] : NULL;
}
