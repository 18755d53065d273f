#include "client/progress.h"

#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "client/render.h"
#include "client/report.h"
#include "client/signals.h"
#include "client/term.h"
#include "common/fd.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define FAILURES_MAX 10 /* shown at once with their last lines; the report counts the rest */
#define PAINT_MS 100	/* between two paintings at least */
#define CLOCK_MS 1000	/* elapsed times move on that often */

void progress_init(struct progress *p, struct ctx *c, struct follow *f, bool output)
{
	*p = (struct progress){ .c = c, .f = f, .output = output };
	p->lines = (struct lines){ .c = c, .with_run = f->n > 1, .to_stderr = c->json };
	p->live = !c->quiet && term_is_capable(STDERR_FILENO);
	p->plain = !c->quiet && !p->live && !output;
}

void progress_done(struct progress *p)
{
	lines_done(&p->lines);
	free(p->widths);
}

static void progress_write(struct progress *p, const struct buf *b)
{
	if (fd_write_all(STDERR_FILENO, b->p, b->len) < 0)
		p->live = p->plain = false; /* nobody left to tell */
}

/* Moves to where the block began and clears from there; lines may take several rows since the
 * terminal was made narrower. */
static void progress_erase(struct progress *p, struct buf *b)
{
	int cols, rows, up = 0;
	if (!p->n_lines)
		return;
	term_size(STDERR_FILENO, &cols, &rows);
	for (int i = 0; i < p->n_lines; i++)
		up += MAX2(1, (p->widths[i] + cols - 1) / cols);
	buf_addf(b, "\r\033[%dA" TERM_ERASE_BELOW, MIN2(up, rows));
	p->n_lines = 0;
}

void progress_clear(struct progress *p)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	progress_erase(p, &b);
	if (b.len)
		progress_write(p, &b);
	p->painted_ms = 0;
}

/* Columns of a painted line, colours aside. */
static int progress_width(struct slice line)
{
	_cleanup_buf_ struct buf plain = BUF_INIT;
	for (size_t i = 0; i < line.len; i++) {
		if (line.p[i] != '\033') {
			buf_addc(&plain, line.p[i]);
			continue;
		}
		while (i < line.len && line.p[i] != 'm')
			i++;
	}
	return term_width(buf_slice(&plain));
}

static void progress_measure(struct progress *p, struct slice block)
{
	while (block.len) {
		const char *nl = memchr(block.p, '\n', block.len);
		size_t n = nl ? (size_t)(nl - block.p) : block.len;
		if (p->n_lines == p->cap_lines) {
			p->cap_lines += 64;
			p->widths = xrealloc(p->widths, (size_t)p->cap_lines, sizeof(*p->widths));
		}
		p->widths[p->n_lines++] = progress_width(slice_of(block.p, n));
		block = slice_of(block.p + n + (nl != NULL), block.len - n - (nl != NULL));
	}
}

static void progress_paint(struct progress *p)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct render r = { .color = p->c->color_err, .now_ms = time_wall_ms() };
	int cols, rows;
	term_size(STDERR_FILENO, &cols, &rows);
	progress_erase(p, &b);
	size_t at = b.len;
	int left = rows - 1;
	r.cols = cols - 1;
	for (int i = 0; i < p->f->n && left > 0; i++) {
		if (p->f->views[i].final.len)
			continue;
		r.rows = MAX2(1, left - (p->f->n - i - 1));
		left -= render_run(&r, &p->f->views[i], &b);
	}
	progress_measure(p, slice_of(b.p + at, b.len - at));
	progress_write(p, &b);
	p->painted_ms = time_mono_ms();
	p->dirty = false;
}

/* Is it a failure whose last lines are shown as it comes? Of a lone op the report follows at once.
 */
static bool progress_tells(struct progress *p, const struct run_view *v, const struct op_view *o)
{
	bool failed = o->state == VIEW_FAILED || o->state == VIEW_INTERRUPTED;
	if (!failed || v->ops_total < 2 || p->n_failures >= FAILURES_MAX)
		return false;
	p->n_failures++;
	return true;
}

/* ---- plain lines ---- */

static void plain_message(struct progress *p, struct run_view *v, struct op_view *o)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct message_view *m =
		o->message && o->message <= v->n_messages ? &v->messages[o->message - 1] : NULL;
	if (!m || m->announced || v->n_messages < 2)
		return;
	m->announced = true;
	buf_addf(&b, "message %u of %u", o->message, v->n_messages);
	if (m->name) {
		buf_adds(&b, ": ");
		text_one_line(&b, slice_str(m->name), 100);
	}
	buf_addf(&b, " (%u op%s)\n", m->ops, PLURAL(m->ops));
	progress_write(p, &b);
}

static void plain_end(struct progress *p, struct run_view *v, struct op_view *o)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char number[16];
	if (p->f->n > 1)
		buf_addf(&b, "%" PRId64 ".", v->run);
	text_one_line(&b, slice_str(op_view_label(o, number)), 40);
	buf_adds(&b, o->state == VIEW_SUCCEEDED ? " ok" : " ");
	if (o->state != VIEW_SUCCEEDED) {
		buf_addf(&b, "%s (", view_state_names[o->state]);
		report_cause(&b, slice_str(view_state_names[o->state]), slice_str(o->cause),
			     o->exit, slice_str(o->signal), slice_str(o->error));
		buf_addc(&b, ')');
	}
	if (op_view_ms(o) >= 0) {
		buf_adds(&b, "  ");
		duration_human(&b, op_view_ms(o));
	}
	buf_adds(&b, "  ");
	text_one_line(&b, slice_str(o->text ? o->text : ""), 120);
	buf_addc(&b, '\n');
	progress_write(p, &b);
	if (progress_tells(p, v, o))
		report_op_tail(p->c, v->run, o->index);
}

/* What there is to say of an op as it is now, once. */
static void plain_op(struct progress *p, struct run_view *v, struct op_view *o)
{
	bool ended = view_ended(o->state) && o->state != VIEW_SKIPPED;
	if (o->state == VIEW_RUNNING || ended)
		plain_message(p, v, o);
	if (ended && !o->told)
		plain_end(p, v, o);
	o->told = o->told || ended;
}

/* ---- the sink ---- */

static void progress_snapshot(void *arg, struct run_view *v)
{
	struct progress *p = arg;
	p->dirty = true;
	/* Of a run that has just been submitted, ops may have ended before we could look. */
	for (uint32_t i = 1; p->plain && p->fresh && i <= v->n_ops; i++)
		plain_op(p, v, &v->ops[i - 1]);
}

/* A failure is shown as it comes, above the block. */
static void progress_failure(struct progress *p, struct run_view *v, const struct op_view *o)
{
	if (!p->live || p->output || !progress_tells(p, v, o))
		return;
	progress_clear(p);
	report_op(p->c, v->run, o);
}

static void progress_op(void *arg, struct run_view *v, struct op_view *o, enum view_state before)
{
	struct progress *p = arg;
	(void)before;
	p->dirty = true;
	progress_failure(p, v, o);
	if (p->plain)
		plain_op(p, v, o);
}

static int progress_output(void *arg, struct run_view *v, struct op_view *o, int stream,
			   struct slice data)
{
	struct progress *p = arg;
	lines_add(&p->lines, v, o, stream, data);
	if (!p->lines.out[0].len && !p->lines.out[1].len)
		return EXIT_OK;
	if (p->live)
		progress_clear(p);
	p->dirty = true;
	return lines_flush(&p->lines);
}

static void progress_dropped(void *arg, struct run_view *v, struct op_view *o, int stream,
			     int64_t bytes)
{
	struct progress *p = arg;
	if (p->live)
		progress_clear(p);
	lines_dropped(&p->lines, v, o, stream, bytes);
}

static void progress_op_end(void *arg, struct run_view *v, struct op_view *o)
{
	struct progress *p = arg;
	lines_end(&p->lines, v, o);
	if (p->live && (p->lines.out[0].len || p->lines.out[1].len))
		progress_clear(p);
	if (lines_flush(&p->lines))
		p->dirty = true;
}

static void progress_run(void *arg, struct run_view *v)
{
	struct progress *p = arg;
	(void)v;
	p->dirty = true;
}

static int64_t progress_tick(void *arg)
{
	struct progress *p = arg;
	int64_t now = time_mono_ms();
	/* In the background the terminal is another's; fg sends CONT. */
	if (!p->live || !term_is_ours(STDERR_FILENO))
		return -1;
	int64_t next = p->painted_ms + (p->dirty ? PAINT_MS : CLOCK_MS);
	if (p->painted_ms == 0 || next <= now) {
		progress_paint(p);
		return p->painted_ms + CLOCK_MS;
	}
	return next;
}

static void progress_lost(void *arg)
{
	struct progress *p = arg;
	if (p->live)
		progress_clear(p);
	p->dirty = true;
}

/* The runs that have not ended go on without us. */
static void progress_left(struct progress *p)
{
	for (int i = 0; i < p->f->n; i++) {
		int64_t run = p->f->views[i].run;
		if (!p->f->views[i].final.len)
			note(p->c,
			     "run %" PRId64 " goes on: `batchctl follow %" PRId64
			     "` comes back to it, `batchctl cancel %" PRId64 "` ends it",
			     run, run, run);
	}
}

static int progress_signal(void *arg, int signal)
{
	struct progress *p = arg;
	if (!signals_ends(signal)) {
		/* After ^Z and fg others have written below what we painted. */
		p->n_lines = signal == SIGCONT ? 0 : p->n_lines;
		p->dirty = true;
		p->painted_ms = p->n_lines ? 1 : 0;
		return EXIT_OK;
	}
	progress_clear(p);
	progress_left(p);
	return EXIT_SIGNAL + signal;
}

#define PROGRESS_SINK                                                                              \
	.snapshot = progress_snapshot, .op = progress_op, .run = progress_run,                     \
	.tick = progress_tick, .lost = progress_lost, .signal = progress_signal

const struct follow_sink progress_sink = { PROGRESS_SINK };
/* Of somebody who is told nothing on the way. */
static const struct follow_sink progress_quiet_sink = { .lost = progress_lost,
							.signal = progress_signal };
const struct follow_sink progress_output_sink = {
	PROGRESS_SINK,
	.output = progress_output,
	.dropped = progress_dropped,
	.op_end = progress_op_end,
};

/* The ended runs as JSON: the run itself, or {"runs": [...]} for several. */
static int progress_json(struct ctx *c, const struct follow *f)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	if (f->n == 1)
		return ctx_print_json(c, buf_slice(&f->views[0].final));
	pk_map(&pk);
	pk_key(&pk, "runs");
	pk_array(&pk);
	for (int i = 0; i < f->n; i++)
		pk_raw(&pk, buf_slice(&f->views[i].final));
	pk_end(&pk);
	pk_end(&pk);
	return ctx_print_json(c, buf_slice(&b));
}

static int progress_end(struct ctx *c, struct follow *f)
{
	int status = c->json ? progress_json(c, f) : EXIT_OK;
	for (int i = 0; i < f->n; i++)
		report_run(c, buf_slice(&f->views[i].final), &f->views[i]);
	return status ? status : follow_status(f);
}

int progress_follow(struct ctx *c, const int64_t *runs, int n, bool fresh, bool output)
{
	_cleanup_close_ int signal_fd = signals_watch(0);
	struct follow f = { .c = c, .n = n, .signal_fd = signal_fd };
	struct progress p;
	f.views = xcalloc((size_t)MAX2(n, 1), sizeof(*f.views));
	for (int i = 0; i < n; i++)
		f.views[i].run = runs[i];
	progress_init(&p, c, &f, output);
	p.fresh = fresh;
	f.estimate = p.live;
	f.sink = output ? &progress_output_sink : c->quiet ? &progress_quiet_sink : &progress_sink;
	f.arg = &p;
	int status = follow_runs(&f);
	progress_clear(&p);
	if (status == EXIT_OK)
		status = progress_end(c, &f);
	else if (status == EXIT_NO_DAEMON)
		progress_left(&p);
	for (int i = 0; i < n; i++)
		run_view_done(&f.views[i]);
	free(f.views);
	progress_done(&p);
	return status;
}
