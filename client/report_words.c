/* What the pages of a report have in common. */
#include <inttypes.h>

#include "client/report.h"
#include "client/report_html.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/mp.h"

void report_closing(const struct story *s, struct buf *b)
{
	struct slice summary = mp_find(s->head, "summary");
	int64_t ops = mp_get_int(summary, "ops", s->total),
		wall = mp_get_int(summary, "wall_ms", 0),
		serial = mp_get_int(summary, "serial_ms", 0);
	buf_addf(b, "%" PRId64 " op%s in ", ops, PLURAL(ops));
	duration_human(b, wall);
	if (ops > 1 && serial > 0) {
		buf_adds(b, "; one after another: ");
		duration_human(b, serial);
		buf_addf(b, " (%.1fx)", (double)serial / (double)MAX2(wall, 1));
	}
}

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
