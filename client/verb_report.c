/* batchctl report: how a run went, as a page or as Markdown. */
#include <inttypes.h>
#include <unistd.h>

#include "client/pages.h"
#include "client/report_html.h"
#include "client/story.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define REPORT_OPS 1000
#define REPORT_OUTPUT                                                                              \
	2048 /* bytes of what an op printed: so many of its first, and of its last                 \
	      */

struct report_options {
	bool everywhere, markdown;
	const char *out;
	struct opt_int limit;
};

#define REPORT_OPT(name, letter, type, field, ...)                                                 \
	{                                                                                          \
		name, letter, type, offsetof(struct report_options, field), __VA_ARGS__            \
	}

static const struct opt report_opts[] = {
	REPORT_OPT("out", 'o', OPT_STR, out, "FILE", "write it there instead of to stdout"),
	REPORT_OPT("markdown", 'm', OPT_FLAG, markdown, NULL,
		   "Markdown instead of HTML: short, for agents"),
	REPORT_OPT("limit", 0, OPT_INT, limit, "N", "at most the first N ops; default 1000", NULL,
		   1, LIMIT_OPS),
	REPORT_OPT("everywhere", 0, OPT_FLAG, everywhere, NULL,
		   "'last' means the last run of all projects"),
	OPT_END,
};

/* The items that the run touched last, as a packed array; a list that is gone has none. */
static void report_todos(const struct story *s, struct buf *ret)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params), out = PK_INIT(ret);
	struct err e = ERR_INIT;
	pk_map(&pk);
	pk_ktext(&pk, "list", mp_get_str(s->head, "list"));
	pk_end(&pk);
	pk_array(&out);
	if (ctx_try(s->c, "todo.list", &params, &reply, &e) == 0) {
		struct mp m = mp_of(mp_find(buf_slice(&reply), "todos"));
		struct mp_value list = mp_next(&m);
		for (uint32_t n = list.type == MP_ARRAY ? list.count : 0; n > 0; n--) {
			struct slice item = mp_skip(&m);
			if (mp_get_int(item, "run", 0) == s->run)
				pk_raw(&out, item);
		}
	}
	pk_end(&out);
}

static int report_make(struct ctx *c, const struct report_options *o, struct story *s)
{
	_cleanup_buf_ struct buf b = BUF_INIT, todos = BUF_INIT;
	if (c->json)
		return ctx_print_json(c, s->head);
	report_todos(s, &todos);
	if (o->markdown)
		report_markdown(s, buf_slice(&todos), &b);
	else
		report_html(s, buf_slice(&todos), &b);
	if (s->n < s->total)
		note(c, "the first %" PRIu32 " of %" PRIu32 " ops: --limit N takes more", s->n,
		     s->total);
	return story_write(c, o->out, &b);
}

static int verb_report(struct ctx *c, void *options)
{
	struct report_options *o = options;
	_cleanup_(story_done) struct story s = { 0 };
	int64_t run;
	if (!o->out && !o->markdown && !c->json && isatty(STDOUT_FILENO))
		return fail(c, EXIT_USAGE,
			    "a page is not for a terminal: -o FILE.html writes it, --markdown is "
			    "readable here");
	int status = story_select(c, o->everywhere, &run);
	if (status == EXIT_OK)
		status = story_load(c, run, o->limit.set ? (uint32_t)o->limit.v : REPORT_OPS,
				    REPORT_OUTPUT, &s);
	return status ? status : report_make(c, o, &s);
}

const struct verb cmd_report = {
	.name = "report",
	.run = verb_report,
	.usage = "[RUN]",
	.help = "a run as one HTML page, or as Markdown",
	.more = "Timeline, critical path, speed-up, output and todos in one file that needs no script\n"
		"and no network, light or dark as the reader's system is. Without RUN: the last run\n"
		"of this project.\n\n"
		"  batchctl report 12 -o run.html\n"
		"  batchctl report last --markdown\n",
	.options = report_opts,
	.options_size = sizeof(struct report_options),
	.max_args = -1,
};
