#include "daemon/engine/opfsm.h"

#include <assert.h>

#include "common/cleanup.h"

#define TO(phase, effect)                                                                          \
	{                                                                                          \
		PHASE_##phase, DO_##effect, true                                                   \
	}

/*
 * PHASE_STOPPING ends only by the executor's word: what was told to end has not ended until its
 * tree is gone. An op that ends by itself between the decision and the signal still counts as
 * stopped: whoever stopped it was answered so.
 */
static const struct op_step table[PHASE_MAX][INPUT_MAX] = {
	[PHASE_WAITING] = {
		[INPUT_MET] = TO(READY, QUEUE),
		[INPUT_SKIP] = TO(SKIPPED, END),
		[INPUT_CANCEL] = TO(CANCELLED, END),
		[INPUT_TIMEOUT] = TO(SKIPPED, END),
		[INPUT_KILL] = TO(SKIPPED, END),
	},
	[PHASE_READY] = {
		[INPUT_SLOT] = TO(STARTING, START),
		[INPUT_SKIP] = TO(SKIPPED, UNQUEUE),
		[INPUT_CANCEL] = TO(CANCELLED, UNQUEUE),
		[INPUT_TIMEOUT] = TO(SKIPPED, UNQUEUE),
		[INPUT_KILL] = TO(SKIPPED, UNQUEUE),
		[INPUT_LOST] = TO(INTERRUPTED, UNQUEUE),
	},
	[PHASE_STARTING] = {
		[INPUT_BUSY] = TO(READY, QUEUE),
		[INPUT_STARTED] = TO(RUNNING, NOTHING),
		[INPUT_GOOD] = TO(SUCCEEDED, END),
		[INPUT_BAD] = TO(FAILED, END),
		[INPUT_BAD_RETRY] = TO(BACKOFF, BACKOFF),
		[INPUT_LOST] = TO(INTERRUPTED, END),
		[INPUT_CANCEL] = TO(STOPPING, STOP),
		[INPUT_TIMEOUT] = TO(STOPPING, STOP),
		[INPUT_KILL] = TO(STOPPING, STOP),
	},
	[PHASE_RUNNING] = {
		[INPUT_GOOD] = TO(SUCCEEDED, END),
		[INPUT_BAD] = TO(FAILED, END),
		[INPUT_BAD_RETRY] = TO(BACKOFF, BACKOFF),
		[INPUT_LOST] = TO(INTERRUPTED, END),
		[INPUT_CANCEL] = TO(STOPPING, STOP),
		[INPUT_TIMEOUT] = TO(STOPPING, STOP),
		[INPUT_KILL] = TO(STOPPING, STOP),
	},
	[PHASE_STOPPING] = {
		[INPUT_STARTED] = TO(STOPPING, NOTHING),
		[INPUT_STOPPED] = TO(CANCELLED, END), /* stop_cause timeout: the caller makes it FAILED */
		[INPUT_GOOD] = TO(SUCCEEDED, END), /* a file op that was past stopping */
		[INPUT_BAD] = TO(FAILED, END),
		[INPUT_BAD_RETRY] = TO(BACKOFF, BACKOFF),
		[INPUT_BUSY] = TO(CANCELLED, END), /* had not begun */
		[INPUT_LOST] = TO(INTERRUPTED, END),
		[INPUT_CANCEL] = TO(STOPPING, STOP), /* again: shortens the grace */
	},
	[PHASE_BACKOFF] = {
		[INPUT_DUE] = TO(READY, QUEUE),
		[INPUT_SKIP] = TO(FAILED, END),
		[INPUT_TIMEOUT] = TO(FAILED, END),
		[INPUT_CANCEL] = TO(CANCELLED, END),
		[INPUT_KILL] = TO(CANCELLED, END),
	},
};

static_assert(ARRAY_SIZE(table) == PHASE_MAX, "a row for each phase");

struct op_step opfsm_step(enum op_phase phase, enum op_input input)
{
	return table[phase][input];
}
