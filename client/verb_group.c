#include <inttypes.h>

#include "client/ctx.h"
#include "client/pages.h"
#include "client/term.h"
#include "common/text.h"
#include "proto/mp.h"
#include "proto/pack.h"

struct group_options {
	struct opt_int jobs;
};

static const struct opt set_opts[] = {
	{ "jobs", 'j', OPT_INT, offsetof(struct group_options, jobs), "N",
	  "slots: ops of this pool at once", NULL, 1, 65535 },
	OPT_END,
};

static void group_line(struct buf *b, struct slice g)
{
	term_fit_bytes(b, mp_get_str(g, "group"), 24, true);
	buf_addf(b, "  %5" PRId64 "  %5" PRId64 "  %5" PRId64 "%s\n", mp_get_int(g, "slots", 0),
		 mp_get_int(g, "used", 0), mp_get_int(g, "runs", 0),
		 mp_get_bool(g, "paused") ? "  paused" : "");
}

static int verb_group_list(struct ctx *c, void *options)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	_cleanup_pages_ struct pages pages = PAGES_INIT;
	(void)options;
	int status = ctx_connect(c, CTX_MAY_START);
	if (status == EXIT_OK)
		status = pages_call(c, "group.list", "groups", &pages);
	if (status)
		return status;
	if (c->json)
		return ctx_print_json(c, buf_slice(&pages.all));
	struct slice groups = mp_find(buf_slice(&pages.all), "groups");
	struct mp m = mp_of(groups);
	struct mp_value list = mp_next(&m);
	buf_addf(&b, "%-24s  %5s  %5s  %5s\n", "GROUP", "SLOTS", "USED", "RUNS");
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++)
		group_line(&b, mp_skip(&m));
	return ctx_print(c, &b);
}

/* Only a batch or `group set` makes a pool: a name that was mistyped pauses none. */
static int group_check(struct ctx *c)
{
	_cleanup_pages_ struct pages pages = PAGES_INIT;
	int status = ctx_connect(c, CTX_MAY_START);
	if (status == EXIT_OK)
		status = pages_call(c, "group.list", "groups", &pages);
	if (status)
		return status;
	struct mp m = mp_of(mp_find(buf_slice(&pages.all), "groups"));
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++)
		if (slice_is(mp_get_str(mp_skip(&m), "group"), c->argv[0]))
			return EXIT_OK;
	return fail(c, EXIT_USAGE,
		    "there is no pool '%s': see `batchctl group`; `batchctl group set '%s' -j N` "
		    "makes it",
		    c->argv[0], c->argv[0]);
}

/* paused: 1 pause, 0 resume, -1 leave. */
static int group_set(struct ctx *c, const struct opt_int *slots, int paused)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, b = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	pk_map(&pk);
	pk_ktext(&pk, "group", slice_str(c->argv[0]));
	if (slots && slots->set)
		pk_kint(&pk, "slots", slots->v);
	if (paused >= 0)
		pk_kbool(&pk, "paused", paused);
	pk_end(&pk);
	int status = ctx_connect(c, CTX_MAY_START);
	if (status == EXIT_OK)
		status = ctx_call(c, "group.set", &params, &reply);
	if (status)
		return status;
	buf_addf(&b, "%s group ", paused < 0 ? "set" : paused ? "paused" : "resumed");
	text_one_line(&b, slice_str(c->argv[0]), 200);
	if (slots && slots->set)
		buf_addf(&b, ": %" PRId64 " slot%s", slots->v, PLURAL(slots->v));
	buf_addc(&b, '\n');
	status = c->json ? ctx_print_json(c, buf_slice(&reply)) : ctx_print(c, &b);
	return ctx_print_changed(c, status, "it was done all the same:", &b);
}

static int verb_group_set(struct ctx *c, void *options)
{
	struct group_options *o = options;
	if (!o->jobs.set)
		return fail(c, EXIT_USAGE, "say how many slots: -j N");
	return group_set(c, &o->jobs, -1);
}

static int verb_group_pause(struct ctx *c, void *options)
{
	int status = group_check(c);
	(void)options;
	return status ? status : group_set(c, NULL, 1);
}

static int verb_group_resume(struct ctx *c, void *options)
{
	int status = group_check(c);
	(void)options;
	return status ? status : group_set(c, NULL, 0);
}

static const struct verb cmd_group_list = {
	.name = "list",
	.run = verb_group_list,
	.help = "the pools, their slots and what they do",
	.more = "  batchctl group list --json\n",
	.options_size = sizeof(struct group_options),
};

static const struct verb cmd_group_set = {
	.name = "set",
	.run = verb_group_set,
	.usage = "GROUP -j N",
	.help = "give a pool N slots",
	.more = "  batchctl group set gpu -j 2\n",
	.options = set_opts,
	.options_size = sizeof(struct group_options),
	.min_args = 1,
	.max_args = 1,
};

static const struct verb cmd_group_pause = {
	.name = "pause",
	.run = verb_group_pause,
	.usage = "GROUP",
	.help = "start nothing more in a pool",
	.more = "  batchctl group pause gpu\n",
	.options_size = sizeof(struct group_options),
	.min_args = 1,
	.max_args = 1,
};

static const struct verb cmd_group_resume = {
	.name = "resume",
	.run = verb_group_resume,
	.usage = "GROUP",
	.help = "let a pool go on",
	.more = "  batchctl group resume gpu\n",
	.options_size = sizeof(struct group_options),
	.min_args = 1,
	.max_args = 1,
};

static const struct verb *const group_verbs[] = { &cmd_group_list, &cmd_group_set, &cmd_group_pause,
						  &cmd_group_resume, NULL };

const struct verb cmd_group = {
	.name = "group",
	.usage = "[list|set GROUP -j N|pause GROUP|resume GROUP]",
	.help = "the pools of slots runs share",
	.more = "  batchctl group set gpu -j 2\n  batchctl group\n",
	.options_size = sizeof(struct group_options),
	.subs = group_verbs,
};
