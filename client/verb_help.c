#include "client/ctx.h"
#include "client/dispatch.h"
#include "client/habits.h"
#include "client/mcp.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/suggest.h"

static void help_rows(struct buf *b, const struct verb *const *table)
{
	for (; *table; table++) {
		_cleanup_free_ char *left =
			xasprintf("%s%s%s", (*table)->name, (*table)->alias ? ", " : "",
				  (*table)->alias ? (*table)->alias : "");
		buf_addf(b, "  %-16s%s\n", left, (*table)->help);
	}
}

void help_overview(struct buf *b)
{
	buf_adds(b, "usage: batchctl [options] [verb] [...]\n\n"
		    "Submits batches of operations to batchd and shows what became of them.\n"
		    "Without a verb: the running and recent runs of this project.\n\nverbs:\n");
	help_rows(b, verbs);
	buf_adds(b, "\noptions, before or after the verb:\n");
	opts_help(b, global_opts);
	buf_adds(b,
		 "\nexit status: 0 all well, 1 a run did not succeed, 2 usage or a batch refused,\n"
		 "124 the waiting timed out, 125 no daemon; `run` passes its command's own on.\n"
		 "\n`batchctl VERB --help` tells more; man batchctl tells all.\n");
}

void help_verb(struct buf *b, const char *of, const struct verb *v, const struct verb *parent)
{
	buf_addf(b, "usage: %s %s%s%s%s\n", of, v->name, v->options || parent ? " [options]" : "",
		 v->usage ? " " : "", v->usage ? v->usage : "");
	if (v->alias)
		buf_addf(b, "       %s %s ...\n", of, v->alias);
	buf_addf(b, "\n%s\n", v->help);
	if (v->more)
		buf_addf(b, "\n%s", v->more);
	if (v->subs) {
		buf_addf(b, "\n%s %s ...:\n", of, v->name);
		help_rows(b, v->subs);
	}
	if (v->options || parent) {
		buf_adds(b, "\noptions:\n");
		opts_help(b, v->options);
		if (parent)
			opts_help(b, parent->options);
	}
	buf_adds(b, "\nsee `batchctl --help` for the options all verbs take\n");
}

/* " (did you mean 'cancel'?)", or nothing. */
static const char *help_hint(const struct verb *const *table, const char *word,
			     char text[SUGGEST_TEXT_MAX])
{
	struct suggest near = SUGGEST_INIT(slice_str(word));
	for (; table && *table; table++)
		suggest_offer(&near, (*table)->name);
	return suggest_text(&near, text);
}

static int verb_help(struct ctx *c, void *options)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	char hint[SUGGEST_TEXT_MAX];
	(void)options;
	if (c->argc == 0) {
		help_overview(&b);
		return ctx_print(c, &b);
	}
	if (c->argc == 1 && strcmp(c->argv[0], "agents") == 0) {
		buf_adds(&b, agents_page);
		return ctx_print(c, &b);
	}
	const struct verb *v = verb_find(verbs, c->argv[0]), *sub = NULL;
	const char *here = v ? NULL : habit_here("batchctl", c->argv[0]);
	if (here)
		return fail(c, EXIT_USAGE, "there is no verb '%s': here it is %s", c->argv[0],
			    here);
	if (!v)
		return fail(c, EXIT_USAGE, "there is no verb '%s'%s: see `batchctl --help`",
			    c->argv[0], help_hint(verbs, c->argv[0], hint));
	if (c->argc == 1) {
		help_verb(&b, "batchctl", v, NULL);
		return ctx_print(c, &b);
	}
	if (v->subs)
		sub = verb_find(v->subs, c->argv[1]);
	if (!sub)
		return fail(c, EXIT_USAGE, "there is no '%s %s'%s: see `batchctl %s --help`",
			    v->name, c->argv[1], help_hint(v->subs, c->argv[1], hint), v->name);
	_cleanup_free_ char *of = xasprintf("batchctl %s", v->name);
	help_verb(&b, of, sub, v);
	return ctx_print(c, &b);
}

const struct verb cmd_help = {
	.name = "help",
	.run = verb_help,
	.usage = "[VERB [SUB]]",
	.help = "tell what a verb does",
	.more = "  batchctl help submit\n  batchctl help group set\n"
		"  batchctl help agents\n",
	.max_args = 2,
};
