#include <inttypes.h>

#include "client/html.h"
#include "client/report_html.h"
#include "common/timeutil.h"
#include "proto/mp.h"

#define LANES_SHOWN 100
#define TICKS 6

static double line_percent(const struct story *s, int64_t ms)
{
	return 100.0 * (double)ms / (double)MAX2(s->to - s->from, 1);
}

/* 1, 2 or 5 times a power of ten: about TICKS of them to the whole. */
static int64_t line_step(int64_t span)
{
	int64_t step = 1;
	for (int i = 0; step * TICKS < span; i++)
		step = i % 3 == 1 ? step / 2 * 5 : step * 2;
	return step;
}

static void line_axis(const struct story *s, struct buf *b)
{
	int64_t span = s->to - s->from, step = line_step(span);
	buf_adds(b, "<div class=\"axis\" aria-hidden=\"true\">");
	for (int64_t at = 0; at < span - span / 12; at += step) {
		buf_addf(b, "<span style=\"left:%.3f%%\">", line_percent(s, at));
		duration_human(b, at);
		buf_adds(b, "</span>");
	}
	buf_adds(b, "</div>\n");
}

static void line_op(const struct story *s, const struct story_op *o, struct buf *b)
{
	_cleanup_buf_ struct buf why = BUF_INIT;
	struct slice id = mp_get_str(o->op, "id"), text = mp_get_str(o->op, "text");
	report_op_why(o, &why);
	buf_addf(b,
		 "<a class=\"op %.*s%s\" href=\"#op%" PRIu32
		 "\" style=\"left:%.3f%%;width:%.3f%%\" title=\"",
		 SLICE_FMT(mp_get_str(o->op, "state")), o->critical ? " critical" : "", o->index,
		 line_percent(s, o->started - s->from), line_percent(s, o->ended - o->started));
	buf_addf(b, "%" PRId64 ".%" PRIu32 " ", s->run, o->index);
	html_text(b, text);
	buf_adds(b, " — ");
	html_text(b, buf_slice(&why));
	buf_adds(b, ", ");
	duration_human(b, MAX2(report_op_ms(o), 0));
	buf_adds(b, "\">");
	if (report_op_failed(o))
		buf_adds(b, "✗ ");
	html_text(b, id.len ? id : text);
	buf_adds(b, "</a>");
}

/* Of each message, from its first start to its last end. */
static void line_messages(const struct story *s, struct buf *b)
{
	buf_adds(b, "<div class=\"lane messages\">");
	for (uint32_t i = 0; i < s->n;) {
		uint32_t message = s->ops[i].message;
		int64_t from = INT64_MAX, to = 0;
		for (; i < s->n && s->ops[i].message == message; i++) {
			if (!s->ops[i].started)
				continue;
			from = MIN2(from, s->ops[i].started);
			to = MAX2(to, s->ops[i].ended);
		}
		if (to)
			buf_addf(b,
				 "<a href=\"#m%" PRIu32
				 "\" style=\"left:%.3f%%;width:%.3f%%\">message %" PRIu32 "</a>",
				 message, line_percent(s, from - s->from),
				 line_percent(s, to - from), message);
	}
	buf_adds(b, "</div>\n");
}

void report_timeline(const struct story *s, struct buf *b)
{
	if (s->n_started == 0) {
		buf_adds(b, "<p>No op was started.</p>\n");
		return;
	}
	buf_adds(b, "<div class=\"timeline\">\n");
	line_axis(s, b);
	line_messages(s, b);
	for (uint32_t lane = 0; lane < MIN2(s->n_lanes, (uint32_t)LANES_SHOWN); lane++) {
		buf_adds(b, "<div class=\"lane\">");
		for (uint32_t i = 0; i < s->n; i++)
			if (s->ops[i].started && s->ops[i].lane == lane)
				line_op(s, &s->ops[i], b);
		buf_adds(b, "</div>\n");
	}
	buf_adds(b, "</div>\n");
	if (s->n_lanes > LANES_SHOWN)
		buf_addf(b, "<p class=\"limit\">The first %d of %" PRIu32 " lanes.</p>\n",
			 LANES_SHOWN, s->n_lanes);
}
