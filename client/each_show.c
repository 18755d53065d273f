#include "client/each_show.h"

#include <errno.h>
#include <unistd.h>

#include "client/term.h"
#include "common/fd.h"
#include "common/timeutil.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define GATHER_BYTES (64u << 10) /* written at once */
#define PAGE_BYTES (1 << 20)	 /* of output read at once */

void each_show_init(struct each_show *s, struct each *e)
{
	const struct each_options *o = e->o;
	*s = (struct each_show){ .e = e, .told = -1 };
	s->bar = (o->bar || o->eta || o->progress) && !e->c->quiet;
	s->live = s->bar && term_is_capable(STDERR_FILENO);
	s->began_ms = time_mono_ms();
	s->before = e->n_jobs - e->n_todo;
}

void each_show_done(struct each_show *s)
{
	buf_done(&s->out[0]);
	buf_done(&s->out[1]);
}

static int show_write(struct each_show *s, int stream)
{
	struct buf *b = &s->out[stream];
	int fd = stream || s->e->c->json ? STDERR_FILENO : STDOUT_FILENO;
	int r = b->len ? fd_write_all(fd, b->p, b->len) : 0;
	buf_clear(b);
	if (r == -EPIPE && fd == STDOUT_FILENO) {
		s->stdout_gone = true;
		return EXIT_OK;
	}
	if (r == 0 || r == -EPIPE)
		return EXIT_OK;
	if (!s->lost[stream]) /* told once, however many jobs have something to show */
		fail(s->e->c, EXIT_RUN, "cannot write to %s: %s",
		     fd == STDERR_FILENO ? "stderr" : "stdout", strerror(-r));
	s->lost[stream] = true;
	return EXIT_RUN;
}

int each_show_flush(struct each_show *s)
{
	if (!s->out[0].len && !s->out[1].len)
		return EXIT_OK;
	each_show_clear(s, false);
	int status = show_write(s, 0);
	return status ? status : show_write(s, 1);
}

/* Bytes with the tag at the beginning of each line. *start: a line begins here. */
static void show_tagged(struct buf *b, struct slice tag, struct slice data, bool *start)
{
	while (data.len) {
		const char *nl = memchr(data.p, '\n', data.len);
		size_t n = nl ? (size_t)(nl - data.p) + 1 : data.len;
		if (*start)
			buf_addslice(b, tag);
		buf_add(b, data.p, n);
		*start = nl != NULL;
		data = slice_of(data.p + n, data.len - n);
	}
}

/* Where a job's stream goes to: a file of --results, or our own. */
struct target {
	struct slice tag;
	int file; /* -1: none */
	bool start;
};

static int show_data(struct each_show *s, struct target *t, int stream, struct slice data)
{
	if (t->file >= 0) {
		int r = fd_write_all(t->file, data.p, data.len);
		return r < 0 ? fail(s->e->c, EXIT_RUN, "--results: %s", strerror(-r)) : EXIT_OK;
	}
	if (s->stdout_gone && stream == 0)
		return EXIT_OK;
	if (t->tag.len)
		show_tagged(&s->out[stream], t->tag, data, &t->start);
	else
		buf_addslice(&s->out[stream], data);
	return s->out[stream].len >= GATHER_BYTES ? each_show_flush(s) : EXIT_OK;
}

/* The next page of a stream; *ret_end: there is no more. */
static int show_page(struct each_show *s, int64_t run, struct op_view *o, int stream,
		     struct target *t, bool *ret_end)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	struct err e = ERR_INIT;
	struct op_stream *at = &o->streams[stream];
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	pk_kint(&pk, "op", o->index);
	pk_kint(&pk, "attempt", o->attempts);
	pk_kstr(&pk, "stream", slice_str(stream ? "stderr" : "stdout"));
	pk_kint(&pk, "offset", at->at);
	pk_kint(&pk, "limit", PAGE_BYTES);
	pk_end(&pk);
	int r = ctx_try(s->e->c, "run.output", &params, &reply, &e);
	*ret_end = true;
	if (r)
		return r < 0 ? -ECONNRESET : fail_err(s->e->c, &e);
	struct slice data = mp_get_str(buf_slice(&reply), "data");
	at->at += (int64_t)data.len + mp_get_int(buf_slice(&reply), "dropped", 0);
	*ret_end = !data.len || at->at >= mp_get_int(buf_slice(&reply), "size", 0);
	return show_data(s, t, stream, data);
}

static int show_stream(struct each_show *s, int64_t run, struct op_view *o, int stream,
		       struct target *t)
{
	int r = 0;
	t->start = true;
	for (bool end = o->printed[stream] <= o->streams[stream].at; !end && r == 0;)
		r = show_page(s, run, o, stream, t, &end);
	return r;
}

/* -v, and -t on stderr: the command before its output. */
static void show_command(struct each_show *s, size_t job, int stream)
{
	each_job_command(s->e, job, &s->out[stream]);
	buf_addc(&s->out[stream], '\n');
}

int each_show_whole(struct each_show *s, size_t job, int64_t run, struct op_view *o)
{
	_cleanup_buf_ struct buf tag = BUF_INIT;
	int files[2] = { -1, -1 }, r = 0;
	bool again = o->streams[0].at || o->streams[1].at;
	if (s->e->o->results && !o->attempts)
		return 0;
	if (s->e->o->results && each_results_open(s->e, job, files))
		return EXIT_RUN;
	each_job_tag(s->e, job, &tag);
	if (s->e->c->verbose && o->attempts && !s->e->o->results && !again)
		show_command(s, job, 0);
	if (s->e->o->trace && o->attempts && !again)
		show_command(s, job, 1);
	for (int stream = 0; stream < 2; stream++) {
		struct target t = { .tag = buf_slice(&tag), .file = files[stream] };
		if (t.file >= 0)
			o->streams[stream].at = 0; /* it was made anew */
		r = r ? r : show_stream(s, run, o, stream, &t);
		if (t.file >= 0)
			close(t.file);
	}
	return r;
}

void each_show_bytes(struct each_show *s, size_t job, struct op_view *o, int stream,
		     struct slice data)
{
	_cleanup_buf_ struct buf tag = BUF_INIT;
	struct buf *partial = &o->streams[stream].partial;
	const char *nl = data.len ? memrchr(data.p, '\n', data.len) : NULL;
	size_t whole = nl ? (size_t)(nl - data.p) + 1 : 0;
	bool start = true;
	if (s->stdout_gone && stream == 0)
		return;
	if (s->e->o->ungroup) {
		buf_addslice(&s->out[stream], data);
		return;
	}
	if (whole) {
		buf_add(partial, data.p, whole);
		each_job_tag(s->e, job, &tag);
		show_tagged(&s->out[stream], buf_slice(&tag), buf_slice(partial), &start);
		buf_clear(partial);
	}
	buf_add(partial, data.p + whole, data.len - whole);
}

void each_show_rest(struct each_show *s, size_t job, struct op_view *o)
{
	for (int stream = 0; stream < 2; stream++) {
		struct buf *partial = &o->streams[stream].partial;
		if (!partial->len)
			continue;
		each_job_tag(s->e, job, &s->out[stream]);
		buf_addslice(&s->out[stream], buf_slice(partial));
		buf_clear(partial);
	}
}

/* ---- the bar ---- */

#define PAINT_MS 100
#define CLOCK_MS 1000
#define BAR_MAX 40 /* cells */

static void bar_counts(struct each_show *s, struct buf *b)
{
	size_t all = s->e->n_jobs, done = s->before + s->ended, left = all - done;
	int64_t gone = time_mono_ms() - s->began_ms;
	buf_addf(b, "%3zu%%  %zu/%zu", all ? done * 100 / all : 100, done, all);
	if (s->running)
		buf_addf(b, "  %zu running", s->running);
	if (s->failed)
		buf_addf(b, "  %zu failed", s->failed);
	if (left && s->ended) {
		buf_adds(b, "  ETA ");
		duration_human(b, (int64_t)((double)gone / (double)s->ended * (double)left));
	} else if (!left) {
		buf_adds(b, "  in ");
		duration_human(b, gone);
	}
}

/* Cells in eighths (U+2588 to U+258F): it moves on also where the terminal is narrow. */
static void bar_cells(const struct each_show *s, int cells, struct buf *b)
{
	size_t all = MAX2(s->e->n_jobs, (size_t)1), done = s->before + s->ended;
	int eighths = (int)((double)done / (double)all * cells * 8);
	for (int i = 0; i < cells; i++, eighths -= 8) {
		if (eighths <= 0)
			buf_addc(b, ' ');
		else
			buf_addf(b, "\xe2\x96%c", (char)(0x88 + 8 - MIN2(eighths, 8)));
	}
}

/* What was painted takes several rows since the terminal was made narrower. */
static void bar_erase(const struct each_show *s, int cols, struct buf *b)
{
	int up = s->painted ? (s->width - 1) / cols : 0;
	buf_addc(b, '\r');
	if (up > 0)
		buf_addf(b, "\033[%dA", up);
	buf_adds(b, TERM_ERASE_BELOW);
}

static void bar_paint(struct each_show *s, bool last)
{
	_cleanup_buf_ struct buf counts = BUF_INIT, b = BUF_INIT;
	bool color = s->e->c->color_err;
	int cols, rows;
	term_size(STDERR_FILENO, &cols, &rows);
	bar_counts(s, &counts);
	bar_erase(s, cols, &b);
	int cells = MIN2(cols - 4 - term_width(buf_slice(&counts)), BAR_MAX);
	if (cells >= 8) {
		term_color(&b, color, s->failed ? COLOR_RED : COLOR_GREEN);
		bar_cells(s, cells, &b);
		term_color(&b, color, COLOR_NONE);
		buf_addc(&b, ' ');
	}
	int before = cells >= 8 ? cells + 1 : 0;
	term_fit(&b, buf_slice(&counts), cols - 1 - before, false);
	s->width = MIN2(before + term_width(buf_slice(&counts)), cols - 1);
	if (last)
		buf_addc(&b, '\n');
	if (fd_write_all(STDERR_FILENO, b.p, b.len) < 0)
		s->bar = s->live = false; /* nobody left to tell */
	s->painted = !last;
	s->dirty = false;
	s->painted_ms = time_mono_ms();
}

static void bar_take_away(struct each_show *s)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	int cols, rows;
	term_size(STDERR_FILENO, &cols, &rows);
	bar_erase(s, cols, &b);
	if (fd_write_all(STDERR_FILENO, b.p, b.len) < 0)
		s->live = false;
}

/* Where it is no terminal: a line for each tenth. */
static void bar_tell(struct each_show *s)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	size_t done = s->before + s->ended;
	int tenth = s->e->n_jobs ? (int)(done * 10 / s->e->n_jobs) : 10;
	if (tenth == s->told)
		return;
	s->told = tenth;
	bar_counts(s, &b);
	buf_addc(&b, '\n');
	if (fd_write_all(STDERR_FILENO, b.p, b.len) < 0)
		s->bar = false;
}

int64_t each_show_tick(struct each_show *s)
{
	if (s->bar && !s->live)
		bar_tell(s);
	/* In the background the terminal is another's. */
	if (!s->live || !term_is_ours(STDERR_FILENO))
		return -1;
	int64_t next = s->painted_ms + (s->dirty || !s->painted ? PAINT_MS : CLOCK_MS);
	if (next > time_mono_ms())
		return next;
	bar_paint(s, false);
	return s->painted_ms + CLOCK_MS;
}

void each_show_clear(struct each_show *s, bool last)
{
	if (last && s->bar && s->live)
		bar_paint(s, true);
	else if (last && s->bar)
		bar_tell(s);
	else if (s->painted)
		bar_take_away(s);
	s->painted = false;
}
