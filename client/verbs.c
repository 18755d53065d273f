#include "client/verbs.h"

extern const struct verb cmd_mcp;
extern const struct verb cmd_status, cmd_submit, cmd_add, cmd_run, cmd_each, cmd_wait, cmd_follow,
	cmd_log, cmd_cancel, cmd_pause, cmd_resume, cmd_restart, cmd_clean, cmd_todo, cmd_group,
	cmd_check, cmd_explain, cmd_top, cmd_trace, cmd_report, cmd_rpc, cmd_daemon, cmd_doctor,
	cmd_notify, cmd_completions, cmd_help;

static const struct opt parse_opts[] = { READING_OPTS(struct parse_options, reading), OPT_END };

static const struct verb cmd_parse = {
	.name = "parse",
	.run = verb_parse,
	.usage = "[FILE|-]",
	.help = "print a batch file as JSON, names resolved",
	.more = "Reads what submit reads, needs no daemon, and refuses what submit would refuse\n"
		"without looking at files.\n\n"
		"  batchctl parse plan.md --block 2\n"
		"  batchctl parse build.batch --define packageConfig=@package.json\n",
	.options = parse_opts,
	.options_size = sizeof(struct parse_options),
	.max_args = 1,
};

static const struct verb cmd_fmt = {
	.name = "fmt",
	.run = verb_fmt,
	.usage = "[FILE|-]",
	.help = "print a batch file in the batch notation",
	.more = "  batchctl fmt batch.json > build.batch\n",
	.options = parse_opts,
	.options_size = sizeof(struct parse_options),
	.max_args = 1,
};

const struct verb *const verbs[] = {
	&cmd_status, &cmd_submit, &cmd_add,	&cmd_run,	  &cmd_each,  &cmd_wait,
	&cmd_follow, &cmd_log,	  &cmd_explain, &cmd_top,	  &cmd_trace, &cmd_report,
	&cmd_cancel, &cmd_pause,  &cmd_resume,	&cmd_restart,	  &cmd_clean, &cmd_todo,
	&cmd_group,  &cmd_parse,  &cmd_fmt,	&cmd_check,	  &cmd_rpc,   &cmd_mcp,
	&cmd_daemon, &cmd_doctor, &cmd_notify,	&cmd_completions, &cmd_help,  NULL,
};
