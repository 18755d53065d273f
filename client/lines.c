#include "client/lines.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "client/term.h"
#include "common/fd.h"
#include "common/text.h"

void lines_done(struct lines *l)
{
	buf_done(&l->out[0]);
	buf_done(&l->out[1]);
}

static void lines_prefix(struct lines *l, const struct run_view *v, const struct op_view *o,
			 int stream)
{
	char number[16];
	struct buf *b = &l->out[stream];
	bool on = stream || l->to_stderr ? l->c->color_err : l->c->color_out;
	if (l->raw)
		return;
	term_color(b, on, stream ? COLOR_YELLOW : COLOR_BLUE);
	if (l->with_run)
		buf_addf(b, "[%lld.%s]", (long long)v->run, op_view_label(o, number));
	else
		buf_addf(b, "[%s]", op_view_label(o, number));
	term_color(b, on, COLOR_NONE);
	buf_addc(b, ' ');
}

static void lines_one(struct lines *l, struct run_view *v, struct op_view *o, int stream,
		      struct slice rest)
{
	struct buf *partial = &o->streams[stream].partial;
	lines_prefix(l, v, o, stream);
	buf_addslice(&l->out[stream], buf_slice(partial));
	buf_addslice(&l->out[stream], rest);
	buf_addc(&l->out[stream], '\n');
	buf_clear(partial);
}

void lines_add(struct lines *l, struct run_view *v, struct op_view *o, int stream,
	       struct slice data)
{
	if (l->raw) {
		buf_addslice(&l->out[stream], data);
		return;
	}
	while (data.len) {
		const char *nl = memchr(data.p, '\n', data.len);
		struct buf *partial = &o->streams[stream].partial;
		if (!nl) {
			buf_addslice(partial, data);
			if (partial->len >= LINES_MAX)
				lines_one(l, v, o, stream, slice_of("", 0));
			return;
		}
		size_t n = (size_t)(nl - data.p);
		lines_one(l, v, o, stream, slice_of(data.p, n));
		data = slice_of(nl + 1, data.len - n - 1);
	}
}

void lines_end(struct lines *l, struct run_view *v, struct op_view *o)
{
	for (int stream = 0; stream < 2; stream++)
		if (o->streams[stream].partial.len)
			lines_one(l, v, o, stream, slice_of("", 0));
}

void lines_dropped(struct lines *l, struct run_view *v, struct op_view *o, int stream,
		   int64_t bytes)
{
	char number[16];
	if (!l->raw) {
		lines_end(l, v, o);
		lines_prefix(l, v, o, stream);
		buf_addf(&l->out[stream], "... %lld byte%s dropped here by the output cap ...\n",
			 (long long)bytes, PLURAL(bytes));
	}
	fail(l->c, 0, "%lld byte%s of %s of op %lld.%s %s missing: dropped by the output cap",
	     (long long)bytes, PLURAL(bytes), stream ? "stderr" : "stdout", (long long)v->run,
	     op_view_label(o, number), bytes == 1 ? "is" : "are");
}

int lines_flush(struct lines *l)
{
	for (int stream = 0; stream < 2; stream++) {
		struct buf *b = &l->out[stream];
		int fd = stream || l->to_stderr ? STDERR_FILENO : STDOUT_FILENO;
		int r = b->len ? fd_write_all(fd, b->p, b->len) : 0;
		buf_clear(b);
		if (r == -EPIPE)
			return EXIT_SIGNAL + SIGPIPE;
		if (r < 0)
			return fail(l->c, EXIT_RUN, "cannot write to %s: %s",
				    fd == STDERR_FILENO ? "stderr" : "stdout", strerror(-r));
	}
	return EXIT_OK;
}
