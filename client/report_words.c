/* What the pages of a report have in common. */
#include "client/report.h"
#include "client/report_html.h"
#include "common/text.h"
#include "proto/mp.h"

int64_t report_op_ms(const struct story_op *o)
{
	return o->started ? mp_get_int(o->op, "duration_ms", o->ended - o->started) : -1;
}

bool report_op_failed(const struct story_op *o)
{
	struct slice state = mp_get_str(o->op, "state");
	return slice_is(state, "failed") || slice_is(state, "interrupted");
}

void report_op_why(const struct story_op *o, struct buf *b)
{
	struct slice state = mp_get_str(o->op, "state"), cause = mp_get_str(o->op, "cause");
	text_one_line(b, state, 20);
	if (!cause.len)
		return;
	buf_adds(b, ": ");
	report_cause(b, state, cause, mp_get_int(o->op, "exit", -1), mp_get_str(o->op, "signal"),
		     mp_get_str(o->op, "error"));
}
