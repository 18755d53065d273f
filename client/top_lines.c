#include <inttypes.h>

#include "client/render.h"
#include "client/term.h"
#include "client/top.h"
#include "common/text.h"
#include "common/timeutil.h"

#define KEYS_LINE "j/k select  f follow  e explain  c cancel  p pause/resume  r retry  q quit"

#define NARROW 66 /* below that some columns are left out */

struct lines {
	struct top *t;
	struct buf *b;
	int cols, left; /* columns, and rows that are free */
	int64_t now;
	bool color;
};

/* One line, cut to the screen. */
static void line_put(struct lines *l, struct buf *text, const char *begin)
{
	if (l->left-- > 0) {
		buf_adds(l->b, begin);
		term_fit(l->b, buf_slice(text), l->cols, false);
		if (*begin)
			buf_adds(l->b, "\033[0m");
		buf_addc(l->b, '\n');
	}
	buf_clear(text);
}

static void line_head(struct lines *l)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	size_t active, shown = top_shown(l->t, &active);
	buf_addf(&line, "batchctl top: %zu of %zu run%s at work or waiting", active, shown,
		 PLURAL(shown));
	if (l->t->project) {
		buf_adds(&line, "  ");
		text_one_line(&line, slice_str(l->t->project), 300);
	}
	line_put(l, &line, "\033[1m");
}

static void line_time(struct lines *l, const struct run_view *v, struct buf *b)
{
	int64_t from = v->started ? v->started : v->created, to = v->ended ? v->ended : l->now;
	if (from)
		duration_human(b, MAX2(to - from, 0));
}

static const char *line_color(const struct lines *l, const struct top_run *r, bool selected)
{
	if (selected)
		return "\033[7m";
	if (!l->color)
		return "";
	if (r->failed || r->v.state == VIEW_FAILED)
		return "\033[31m";
	return r->v.state == VIEW_RUNNING ? "\033[34m" : view_ended(r->v.state) ? "\033[2m" : "";
}

/* Columns of the name: what the others leave. */
static int line_name(const struct lines *l)
{
	return l->cols < NARROW ? MAX2(l->cols - 45, 4) : l->cols - 58;
}

static void line_run(struct lines *l, const struct top_run *r, bool selected)
{
	_cleanup_buf_ struct buf line = BUF_INIT, part = BUF_INIT;
	buf_addf(&line, "%c%6" PRId64 "  ", selected ? '>' : ' ', r->v.run);
	const char *known = r->v.name ? r->v.name : r->first;
	term_fit_bytes(&line, slice_str(known ? known : ""), line_name(l), true);
	buf_addf(&line, "  %-11s", view_state_names[r->v.state]);
	buf_addf(&part, "%" PRId64 "/%" PRId64, r->done, r->total);
	buf_addf(&line, "  %11s", buf_str(&part));
	if (l->cols >= NARROW)
		buf_addf(&line, " %5" PRId64 " %6" PRId64, r->running, r->failed);
	buf_clear(&part);
	line_time(l, &r->v, &part);
	buf_addf(&line, " %7s", buf_str(&part));
	line_put(l, &line, line_color(l, r, selected));
}

/* As many runs as `room`, so that the selected one is among them. */
static void line_runs(struct lines *l, int room)
{
	struct top *t = l->t;
	struct top_run *selected = top_selected(t);
	int at = 0, skip = 0;
	for (size_t i = 0; i < t->n && &t->runs[i] != selected; i++)
		at += top_is_shown(t, &t->runs[i]);
	skip = MAX2(at - room + 1, 0);
	for (size_t i = 0; i < t->n && room > 0; i++) {
		if (!top_is_shown(t, &t->runs[i]) || skip-- > 0)
			continue;
		line_run(l, &t->runs[i], &t->runs[i] == selected);
		room--;
	}
}

static void line_table(struct lines *l)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	size_t active, shown = top_shown(l->t, &active);
	int room = MIN2((int)MIN2(shown, (size_t)1000), MAX2(l->left / 2 - 2, 1));
	buf_addf(&line, " %6s  %-*s  %-11s  %11s", "RUN", line_name(l), "NAME", "STATE", "OPS");
	buf_addf(&line, "%s %7s", l->cols >= NARROW ? "  RUNS FAILED" : "", "TIME");
	line_put(l, &line, "\033[4m");
	if (shown == 0) {
		buf_adds(&line, " no runs yet: `batchctl submit` makes one, and it appears here");
		line_put(l, &line, "");
	}
	line_runs(l, room);
}

/* What the selected run is at. */
static void line_detail(struct lines *l)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	struct top_run *r = top_selected(l->t);
	struct render how = {
		.cols = l->cols, .rows = l->left - 2, .color = l->color, .now_ms = l->now
	};
	if (!r || how.rows < 1)
		return;
	line_put(l, &line, "");
	if (r->loaded && view_ended(r->v.state) && r->v.ended)
		how.now_ms = r->v.ended;
	if (r->loaded) {
		l->left -= render_run(&how, &r->v, l->b);
		return;
	}
	buf_addf(&line, "run %" PRId64 " has %" PRId64 " ops: batchctl status %" PRId64, r->v.run,
		 r->total, r->v.run);
	line_put(l, &line, "");
}

/* What is asked or was done; else the keys. */
static void line_foot(struct lines *l)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	struct top *t = l->t;
	while (l->left > 1)
		line_put(l, &line, "");
	if (t->lost)
		buf_adds(&line, "batchd went away; waiting for it to come back (q quits)");
	else if (t->message)
		text_one_line(&line, slice_str(t->message), 400);
	else
		buf_adds(&line, KEYS_LINE);
	line_put(l, &line, t->lost || t->message ? "\033[1m" : "\033[2m");
}

void top_lines(struct top *t, int cols, int rows, struct buf *b)
{
	struct lines l = { .t = t,
			   .b = b,
			   .cols = cols - 1,
			   .left = rows,
			   .now = time_wall_ms(),
			   .color = t->c->color_out };
	line_head(&l);
	line_table(&l);
	line_detail(&l);
	line_foot(&l);
}
