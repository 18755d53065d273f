#include "common/log_limit.h"

#include <inttypes.h>

#include "common/log.h"

#define LINE_MS 1000 /* gives back one line */

/* Whole lines only: what is left of a second counts towards the next one. */
static void limit_give_back(struct log_limit *l, int64_t now_ms)
{
	int64_t lines = (now_ms - l->at_ms) / LINE_MS;
	if (lines >= l->used) {
		l->used = 0;
		l->at_ms = now_ms;
	} else {
		l->used -= (uint32_t)lines;
		l->at_ms += lines * LINE_MS;
	}
}

bool log_limit_take(struct log_limit *l, int64_t now_ms)
{
	limit_give_back(l, now_ms);
	if (l->used >= LOG_LIMIT_AT_ONCE) {
		l->left_out++;
		return false;
	}
	l->used++;
	log_limit_say(l);
	return true;
}

void log_limit_say(struct log_limit *l)
{
	if (l->left_out)
		log_info("%s: %" PRIu64 " more like it", l->what, l->left_out);
	l->left_out = 0;
}
