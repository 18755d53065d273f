#include <inttypes.h>
#include <signal.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/follow.h"
#include "client/lines.h"
#include "client/selectors.h"
#include "client/signals.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/mp.h"
#include "proto/pack.h"

struct log_options {
	bool follow, only_out, only_err, everywhere;
	struct opt_int lines;
};

#define LOG_OPT(name, letter, type, field, ...)                                                    \
	{                                                                                          \
		name, letter, type, offsetof(struct log_options, field), __VA_ARGS__               \
	}

static const struct opt log_opts[] = {
	LOG_OPT("follow", 'f', OPT_FLAG, follow, NULL,
		"go on as more is printed, until the run ends"),
	LOG_OPT("lines", 'n', OPT_INT, lines, "N", "only the last N lines of each op; -3 is -n 3",
		NULL, 0, 1000000000, .digits = true),
	LOG_OPT("stdout", 0, OPT_FLAG, only_out, NULL, "only what went to stdout"),
	LOG_OPT("stderr", 0, OPT_FLAG, only_err, NULL, "only what went to stderr"),
	LOG_OPT("everywhere", 0, OPT_FLAG, everywhere, NULL,
		"'last' and 'all' mean runs of all projects"),
	OPT_END,
};

struct logging {
	struct ctx *c;
	const struct log_options *o;
	struct follow *f;
	struct lines lines;
};

static bool log_wants(const struct logging *l, int stream)
{
	if (l->o->only_out == l->o->only_err)
		return true;
	return stream ? l->o->only_err : l->o->only_out;
}

/* --json -f: a piece as it comes, with the keys of an op.output event. */
static int log_json_piece(struct logging *l, struct run_view *v, struct op_view *o, int stream,
			  struct slice data)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	pk_map(&pk);
	pk_kint(&pk, "run", v->run);
	pk_kint(&pk, "op", o->index);
	pk_kint(&pk, "attempt", o->attempt);
	pk_kstr(&pk, "stream", slice_str(stream ? "stderr" : "stdout"));
	pk_kint(&pk, "offset", o->streams[stream].at - (int64_t)data.len);
	pk_kbin(&pk, "data", data);
	pk_end(&pk);
	return ctx_print_json(l->c, buf_slice(&b));
}

static int log_output(void *arg, struct run_view *v, struct op_view *o, int stream,
		      struct slice data)
{
	struct logging *l = arg;
	if (!log_wants(l, stream))
		return EXIT_OK;
	if (l->c->json)
		return log_json_piece(l, v, o, stream, data);
	lines_add(&l->lines, v, o, stream, data);
	return lines_flush(&l->lines);
}

static void log_dropped(void *arg, struct run_view *v, struct op_view *o, int stream, int64_t bytes)
{
	struct logging *l = arg;
	if (log_wants(l, stream))
		lines_dropped(&l->lines, v, o, stream, bytes);
}

static void log_op_end(void *arg, struct run_view *v, struct op_view *o)
{
	struct logging *l = arg;
	lines_end(&l->lines, v, o);
	if (lines_flush(&l->lines) != EXIT_OK)
		return; /* the next write says so */
}

static int log_signal(void *arg, int signal)
{
	(void)arg;
	return signals_ends(signal) ? EXIT_SIGNAL + signal : EXIT_OK;
}

static const struct follow_sink log_sink = {
	.output = log_output,
	.dropped = log_dropped,
	.op_end = log_op_end,
	.signal = log_signal,
};

static bool log_is_op(const struct op_view *o, const char *op)
{
	int64_t index;
	if (!op)
		return true;
	if (parse_int(slice_str(op), 0, INT64_MAX, &index))
		return o->index == index;
	return o->id && strcmp(o->id, op) == 0;
}

/* Where the last -n lines begin: of the op's output as it was printed, or of the stream asked for.
 */
static int log_seek(struct logging *l, struct run_view *v, struct op_view *o)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	bool one = log_wants(l, 0) != log_wants(l, 1);
	int stream = log_wants(l, 1);
	if (!l->o->lines.set)
		return EXIT_OK;
	pk_map(&pk);
	pk_kint(&pk, "run", v->run);
	pk_kint(&pk, "op", o->index);
	if (one)
		pk_kstr(&pk, "stream", slice_str(stream ? "stderr" : "stdout"));
	pk_kint(&pk, "lines", l->o->lines.v);
	pk_kint(&pk, "limit", 0);
	pk_end(&pk);
	int status = ctx_call(l->c, "run.output", &params, &reply);
	if (status)
		return status;
	if (one)
		o->streams[stream].at = mp_get_int(buf_slice(&reply), "offset", 0);
	struct slice starts = mp_find(buf_slice(&reply), "starts");
	struct mp m = mp_of(starts);
	struct mp_value pair = mp_next(&m);
	for (uint32_t i = 0; pair.type == MP_ARRAY && i < pair.count && i < 2; i++)
		o->streams[i].at = mp_next(&m).i;
	return EXIT_OK;
}

/* Raw: both streams of one op, each to its own fd. Prefixed: op after op. What is there now. */
static int log_now(struct logging *l, struct run_view *v, const char *op)
{
	bool found = false;
	for (uint32_t i = 1; i <= v->n_ops; i++) {
		struct op_view *o = run_view_op(v, i);
		if (!o || !log_is_op(o, op))
			continue;
		found = true;
		int status = log_seek(l, v, o);
		if (status == EXIT_OK &&
		    (o->printed[0] || o->printed[1] || o->state == VIEW_RUNNING))
			status = follow_catch_up(l->f, v, o, l->o->follow);
		if (status)
			return status;
		if (!l->o->follow || view_ended(o->state))
			log_op_end(l, v, o);
	}
	return found || !op ? EXIT_OK : selector_no_op(l->c, v->run, op);
}

/* A page as one object: the result of run.output with `run` and `op` added. */
static int log_json_page(struct logging *l, struct run_view *v, struct op_view *o,
			 struct slice result)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	struct pk pk = PK_INIT(&out);
	struct mp m = mp_of(result);
	struct mp_value map = mp_next(&m);
	pk_map(&pk);
	pk_kint(&pk, "run", v->run);
	pk_kint(&pk, "op", o->index);
	for (uint32_t i = 0; map.type == MP_MAP && i < map.count; i++) {
		pk_keyslice(&pk, mp_next(&m).bytes);
		pk_raw(&pk, mp_skip(&m));
	}
	pk_end(&pk);
	return ctx_print_json(l->c, buf_slice(&out));
}

/* --json: the results of run.output for each op, one object a line and a page. */
static int log_json_op(struct logging *l, struct run_view *v, struct op_view *o)
{
	bool one = log_wants(l, 0) != log_wants(l, 1);
	const char *key = l->o->lines.set ? "lines" : "offset";
	for (int64_t at = l->o->lines.set ? l->o->lines.v : 0;;) {
		_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
		struct pk pk = PK_INIT(&params);
		pk_map(&pk);
		pk_kint(&pk, "run", v->run);
		pk_kint(&pk, "op", o->index);
		if (one)
			pk_kstr(&pk, "stream", slice_str(log_wants(l, 1) ? "stderr" : "stdout"));
		pk_kint(&pk, key, at);
		if (strcmp(key, "lines") == 0)
			pk_kint(&pk, "limit", 0);
		pk_end(&pk);
		int status = ctx_call(l->c, "run.output", &params, &reply);
		if (status)
			return status;
		struct slice r = buf_slice(&reply);
		int64_t size = mp_get_int(r, "size", 0), begun = mp_get_int(r, "offset", 0);
		int64_t next =
			begun + (int64_t)mp_get_str(r, "data").len + mp_get_int(r, "dropped", 0);
		bool told = strcmp(key, "lines") != 0 || begun >= size;
		if (told)
			status = log_json_page(l, v, o, r);
		if (status || (told && (next >= size || next <= at)))
			return status;
		key = "offset";
		at = next;
	}
}

static int log_json(struct logging *l, struct run_view *v, const char *op)
{
	bool found = false;
	for (uint32_t i = 1; i <= v->n_ops; i++) {
		struct op_view *o = run_view_op(v, i);
		if (!o || !log_is_op(o, op))
			continue;
		found = true;
		int status = log_json_op(l, v, o);
		if (status)
			return status;
	}
	return found || !op ? EXIT_OK : selector_no_op(l->c, v->run, op);
}

static int log_run(struct ctx *c, const struct log_options *o, const struct selected *s, bool raw,
		   bool with_run)
{
	struct run_view view = { .run = s->run };
	struct follow f = {
		.c = c, .views = &view, .n = 1, .only_op = s->op, .signal_fd = -1, .sink = &log_sink
	};
	struct logging l = {
		.c = c, .o = o, .f = &f, .lines = { .c = c, .raw = raw, .with_run = with_run }
	};
	_cleanup_close_ int signal_fd = -1;
	f.arg = &l;
	int status = follow_settle(&f, &view);
	if (status == EXIT_OK && !s->op && view.ops_total == 1)
		l.lines.raw = raw = !with_run;
	if (status == EXIT_OK)
		status = c->json && !o->follow ? log_json(&l, &view, s->op)
					       : log_now(&l, &view, s->op);
	if (status == EXIT_OK && o->follow && !view_ended(view.state)) {
		f.signal_fd = signal_fd = signals_watch(0);
		status = follow_runs(&f);
	}
	lines_done(&l.lines);
	run_view_done(&view);
	return status == EXIT_SIGNAL + SIGPIPE ? EXIT_OK : status;
}

static int verb_log(struct ctx *c, void *options)
{
	struct log_options *o = options;
	_cleanup_(selection_done) struct selection sel = SELECTION_INIT;
	int status = selection_of_operands(c, o->everywhere, true, &sel);
	if (status == EXIT_OK && o->follow && sel.n > 1)
		return fail(c, EXIT_USAGE,
			    "-f follows one run: `batchctl follow -o` follows several");
	for (size_t i = 0; status == EXIT_OK && i < sel.n; i++)
		status = log_run(c, o, &sel.v[i], sel.n == 1 && sel.v[i].op, sel.n > 1);
	return status;
}

const struct verb cmd_log = {
	.name = "log",
	.run = verb_log,
	.usage = "[RUN[.OP]...]",
	.help = "what ops printed",
	.more = "Of one op: its bytes as they were, stdout to stdout and stderr to stderr. Of "
		"several:\n"
		"lines, prefixed with the op. Without RUN: the last run of this project.\n\n"
		"  batchctl log 12.3 > out 2> err\n"
		"  batchctl log last -f\n"
		"  batchctl log 12.tests -n 20 --stderr\n",
	.options = log_opts,
	.options_size = sizeof(struct log_options),
	.max_args = -1,
};
