#include "client/ctx.h"
#include "client/progress.h"
#include "client/submit.h"
#include "proto/pack.h"

static const struct opt submit_opts[] = { SUBMIT_OPTS, OPT_END };

static int submit_source(struct ctx *c, const struct submit_options *o, bool sent,
			 struct batch_source *from, struct pk *file)
{
	if (o->commands.n && c->argc)
		return fail(c, EXIT_USAGE, "give a FILE or -e commands, not both");
	if (o->commands.n) {
		from->commands = &o->commands;
		return EXIT_OK;
	}
	from->file = file;
	return submit_read_packed(c, &o->reading, c->argc ? c->argv[0] : NULL, sent, from);
}

static int verb_submit(struct ctx *c, void *options)
{
	struct submit_options *o = options;
	struct batch_source from = { 0 };
	_cleanup_buf_ struct buf packed = BUF_INIT;
	struct pk file = PK_INIT(&packed);
	int status = submit_check(c, o);
	if (status == EXIT_OK)
		status = submit_source(c, o, !o->dry_run, &from, &file);
	return status ? status : submit_and_follow(c, o, &from);
}

const struct verb cmd_submit = {
	.name = "submit",
	.run = verb_submit,
	.usage = "[FILE|-]",
	.help = "submit a batch file, or commands, as one run",
	.more = "FILE is JSON, MessagePack, an array of tool calls or the batch notation, by "
		"content.\n"
		"Prints the run's id alone on stdout and returns; -w follows it to its end.\n\n"
		"  batchctl submit build.batch\n"
		"  batchctl submit -w -e 'make lint' -e 'make test'\n"
		"  run=$(batchctl submit --name nightly --key \"nightly-$(date +%F)\" "
		"nightly.json)\n",
	.options = submit_opts,
	.options_size = sizeof(struct submit_options),
	.max_args = 1,
};

static int verb_check(struct ctx *c, void *options)
{
	struct submit_options *o = options;
	struct batch_source from = { 0 };
	_cleanup_buf_ struct buf packed = BUF_INIT;
	struct pk file = PK_INIT(&packed);
	int status = submit_source(c, o, false, &from, &file);
	return status ? status : submit_plan(c, o, &from);
}

const struct verb cmd_check = {
	.name = "check",
	.run = verb_check,
	.usage = "[FILE|-]",
	.help = "prove a batch without submitting it; print its plan",
	.more = "Asks a running batchd, and does without where there is none. Warnings go to "
		"stderr.\n\n"
		"  batchctl check build.batch\n",
	.options = submit_opts,
	.options_size = sizeof(struct submit_options),
	.max_args = 1,
};
