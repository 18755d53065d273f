#include "client/render.h"

#include <inttypes.h>

#include "client/term.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"

/* A run's block: its head line, a line a message, under a running message its running ops and
 * failures. */
struct block {
	const struct render *r;
	struct run_view *v;
	struct buf *b;
	int lines;
};

static void block_line(struct block *k, struct buf *line, enum color color)
{
	term_color(k->b, k->r->color && color != COLOR_NONE, color);
	term_fit(k->b, buf_slice(line), k->r->cols, false);
	term_color(k->b, k->r->color && color != COLOR_NONE, COLOR_NONE);
	buf_addc(k->b, '\n');
	buf_clear(line);
	k->lines++;
}

static bool block_full(const struct block *k)
{
	return k->lines >= k->r->rows;
}

/* Text on the left, a time at the right edge. */
static void block_timed(struct block *k, struct buf *left, int64_t ms, enum color color)
{
	_cleanup_buf_ struct buf line = BUF_INIT, time = BUF_INIT;
	duration_human(&time, MAX2(ms, 0));
	int room = k->r->cols - (int)time.len - 2;
	if (room < 20) {
		block_line(k, left, color);
		return;
	}
	term_fit(&line, buf_slice(left), room, true);
	buf_adds(&line, "  ");
	buf_addslice(&line, buf_slice(&time));
	buf_clear(left);
	block_line(k, &line, color);
}

/* "ETA 12 s"; with > where history does not know all of what is left. Nothing where it was wrong,
 * and where that would be more than a moment. */
static void block_eta(const struct block *k, struct buf *line)
{
	const struct run_view *v = k->v;
	int64_t left = v->eta_ms - MAX2(k->r->now_ms - v->eta_at, 0);
	if (v->state != VIEW_RUNNING || v->eta_ms == 0 || left <= (v->eta_partial ? 1000 : 0))
		return;
	buf_adds(line, v->eta_partial ? "  ETA > " : "  ETA ");
	if (left < 60000)
		buf_addf(line, "%" PRId64 " s", (left + 999) / 1000);
	else
		duration_human(line, left);
}

static void block_head(struct block *k)
{
	const struct run_view *v = k->v;
	_cleanup_buf_ struct buf line = BUF_INIT;
	uint32_t ended = 0, failed = v->counts[VIEW_FAILED] + v->counts[VIEW_INTERRUPTED];
	for (int s = VIEW_SUCCEEDED; s < VIEW_MAX; s++)
		ended += v->counts[s];
	buf_addf(&line, "run %" PRId64, v->run);
	if (v->name) {
		buf_addc(&line, ' ');
		text_one_line(&line, slice_str(v->name), 60);
	}
	buf_addf(&line, "  %s  %u/%u ops", view_state_names[v->state], ended, v->ops_total);
	if (v->counts[VIEW_RUNNING])
		buf_addf(&line, "  %u running", v->counts[VIEW_RUNNING]);
	if (failed)
		buf_addf(&line, "  %u failed", failed);
	block_eta(k, &line);
	int64_t since = v->started ? v->started : v->created;
	block_timed(k, &line, since ? k->r->now_ms - since : 0, failed ? COLOR_RED : COLOR_BOLD);
}

static const char *message_mark(const struct message_view *m)
{
	if (m->failed)
		return "\xe2\x9c\x97"; /* U+2717 */
	if (m->ops && m->ended == m->ops)
		return "\xe2\x9c\x93";				     /* U+2713 */
	return m->ended || m->running ? "\xe2\x96\xb8" : "\xc2\xb7"; /* U+25B8, U+00B7 */
}

static void block_message(struct block *k, uint32_t index)
{
	const struct message_view *m = &k->v->messages[index];
	_cleanup_buf_ struct buf line = BUF_INIT;
	bool active = m->running || (m->ended && m->ended < m->ops);
	buf_addf(&line, "  %s %u", message_mark(m), index + 1);
	if (m->name) {
		buf_addc(&line, ' ');
		text_one_line(&line, slice_str(m->name), 120);
	}
	buf_addf(&line, "  %u/%u", m->ended, m->ops);
	if (m->failed)
		buf_addf(&line, "  %u failed", m->failed);
	block_line(k, &line, m->failed ? COLOR_RED : active ? COLOR_NONE : COLOR_DIM);
}

static void block_op(struct block *k, const struct op_view *o)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	char number[16];
	bool running = o->state == VIEW_RUNNING;
	int64_t ms = running ? MAX2(k->r->now_ms - o->started, 0) : op_view_ms(o);
	enum color color = running ? COLOR_NONE : COLOR_RED;
	buf_addf(&line, "    %s ", running ? " " : "\xe2\x9c\x97");
	text_one_line(&line, slice_str(op_view_label(o, number)), 40);
	buf_adds(&line, "  ");
	text_one_line(&line, slice_str(o->text ? o->text : ""), 400);
	if (o->started && ms >= 0)
		block_timed(k, &line, ms, color);
	else
		block_line(k, &line, color);
}

/* Ops of a message worth a line: failures first (at most 3), then what runs; the rest is counted.
 */
static void block_ops(struct block *k, uint32_t index, int room)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	uint32_t shown = 0, failures = 0, running = 0;
	for (int pass = 0; pass < 2; pass++)
		for (uint32_t i = 1; i <= k->v->n_ops; i++) {
			const struct op_view *o = run_view_op(k->v, i);
			if (!o || o->message != index + 1)
				continue;
			bool failed = o->state == VIEW_FAILED || o->state == VIEW_INTERRUPTED;
			if (pass == 0 ? !failed || failures++ >= 3 : o->state != VIEW_RUNNING)
				continue;
			running += pass;
			if ((int)shown + 1 >= room && k->v->messages[index].running > running)
				continue;
			if ((int)shown < room) {
				block_op(k, o);
				shown++;
			}
		}
	uint32_t listed = MIN2(failures, 3u) + running;
	if (listed > shown && !block_full(k)) {
		buf_addf(&line, "      and %u more", listed - shown);
		block_line(k, &line, COLOR_DIM);
	}
}

/* The message the eye wants: the first that has not ended, else the last. */
static uint32_t block_current(const struct run_view *v)
{
	for (uint32_t i = 0; i < v->n_messages; i++)
		if (v->messages[i].running || v->messages[i].ended < v->messages[i].ops)
			return i;
	return v->n_messages ? v->n_messages - 1 : 0;
}

/* Which messages get a line when not all fit: those around the current one. */
static void block_window(const struct block *k, uint32_t current, uint32_t *ret_first,
			 uint32_t *ret_last)
{
	uint32_t n = k->v->n_messages, room = (uint32_t)MAX2(k->r->rows / 2, 1);
	*ret_first = n <= room || current < room / 2 ? 0 : MIN2(current - room / 2, n - room);
	*ret_last = MIN2(*ret_first + room, n);
}

int render_run(const struct render *r, struct run_view *v, struct buf *b)
{
	struct block k = { .r = r, .v = v, .b = b };
	_cleanup_buf_ struct buf line = BUF_INIT;
	uint32_t first, last, current = block_current(v);
	if (r->rows < 1)
		return 0;
	block_head(&k);
	block_window(&k, current, &first, &last);
	if (first && !block_full(&k)) {
		buf_addf(&line, "  \xe2\x9c\x93 %u earlier message%s", first, PLURAL(first));
		block_line(&k, &line, COLOR_DIM);
	}
	bool lone = v->n_messages == 1 && !v->messages[0].name;
	for (uint32_t i = first; i < last && !block_full(&k); i++) {
		if (!lone)
			block_message(&k, i);
		int room = r->rows - k.lines - (int)(last - i - 1) - (last < v->n_messages);
		bool open = v->messages[i].running || (i == current && v->messages[i].failed);
		if (open && room > 0)
			block_ops(&k, i, room);
	}
	if (last < v->n_messages && !block_full(&k)) {
		uint32_t later = v->n_messages - last;
		buf_addf(&line, "  \xc2\xb7 %u later message%s", later, PLURAL(later));
		block_line(&k, &line, COLOR_DIM);
	}
	return k.lines;
}
