/*
 * For log lines that others can cause, as many as they please: some may be written at once, then
 * one a second, so that nobody fills the disk with them. What is left out is counted, and the
 * number is said before the next line that is written; whoever has a loop says it sooner by a timer
 * that is armed once when something was left out, and by nothing while all is quiet. One thread.
 */
#ifndef COMMON_LOG_LIMIT_H
#define COMMON_LOG_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#define LOG_LIMIT_AT_ONCE 1000

struct log_limit {
	const char *what; /* they are about: "closed connections" */
	int64_t at_ms;	  /* of the last one, monotonic */
	uint32_t used;	  /* of those that may be written at once, less what time has given back */
	uint64_t left_out;
};

/* Whether one more line may be written now. False: it is counted instead. */
bool log_limit_take(struct log_limit *l, int64_t now_ms);
/* Says how many were left out, if any. */
void log_limit_say(struct log_limit *l);

#endif
