#include "daemon/record.h"

#include <assert.h>

#include "common/cleanup.h"

const char *const run_state_names[] = {
	[RUN_QUEUED] = "queued",	   [RUN_RUNNING] = "running", [RUN_PAUSED] = "paused",
	[RUN_SUCCEEDED] = "succeeded",	   [RUN_FAILED] = "failed",   [RUN_CANCELLED] = "cancelled",
	[RUN_INTERRUPTED] = "interrupted", [RUN_STATE_MAX] = NULL,
};
static_assert(ARRAY_SIZE(run_state_names) == RUN_STATE_MAX + 1, "a name for each run state");

const char *const op_state_names[] = {
	[OP_WAITING] = "waiting",     [OP_READY] = "ready",
	[OP_RUNNING] = "running",     [OP_SUCCEEDED] = "succeeded",
	[OP_FAILED] = "failed",	      [OP_SKIPPED] = "skipped",
	[OP_CANCELLED] = "cancelled", [OP_INTERRUPTED] = "interrupted",
	[OP_STATE_MAX] = NULL,
};
static_assert(ARRAY_SIZE(op_state_names) == OP_STATE_MAX + 1, "a name for each op state");

const char *const op_cause_names[] = {
	[CAUSE_NONE] = NULL,	   [CAUSE_EXIT] = "exit",
	[CAUSE_SIGNAL] = "signal", [CAUSE_TIMEOUT] = "timeout",
	[CAUSE_START] = "start",   [CAUSE_CONFLICT] = "conflict",
	[CAUSE_IO] = "io",	   [CAUSE_DEPENDENCY] = "dependency",
	[CAUSE_LIMIT] = "limit",   [CAUSE_CANCEL] = "cancel",
	[CAUSE_LOST] = "lost",	   [CAUSE_REUSED] = "reused",
	[CAUSE_OVER] = "over",	   [CAUSE_MAX] = NULL,
};
static_assert(ARRAY_SIZE(op_cause_names) == CAUSE_MAX + 1, "a name for each cause");

const char *const run_dropped_names[] = {
	[DROPPED_NOT] = NULL,
	[DROPPED_BY_AGE] = "keep_output",
	[DROPPED_BY_SIZE] = "keep_output_bytes",
	[DROPPED_MAX] = NULL,
};
static_assert(ARRAY_SIZE(run_dropped_names) == DROPPED_MAX + 1, "a name for each reason");

const char *const todo_status_names[] = {
	[TODO_PENDING] = "pending",	[TODO_IN_PROGRESS] = "in_progress",
	[TODO_COMPLETED] = "completed", [TODO_CANCELLED] = "cancelled",
	[TODO_STATUS_MAX] = NULL,
};
static_assert(ARRAY_SIZE(todo_status_names) == TODO_STATUS_MAX + 1, "a name for each status");

const char *const todo_priority_names[] = {
	[TODO_HIGH] = "high",
	[TODO_MEDIUM] = "medium",
	[TODO_LOW] = "low",
	[TODO_PRIORITY_MAX] = NULL,
};
static_assert(ARRAY_SIZE(todo_priority_names) == TODO_PRIORITY_MAX + 1, "a name for each priority");
