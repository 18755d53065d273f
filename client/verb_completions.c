#include <string.h>

#include "client/complete.h"
#include "client/ctx.h"
#include "proto/suggest.h"

/*
 * The scripts know how their shell asks and shows, and nothing of batchctl: at each TAB they ask
 * `batchctl completions SHELL -- WORD...`, which never starts a daemon. They are files of their
 * own, installed as they are; the build quotes them for us.
 */
static const char bash_script[] =
#include "client/batchctl.bash.inc"
	;
static const char zsh_script[] =
#include "client/batchctl.zsh.inc"
	;
static const char fish_script[] =
#include "client/batchctl.fish.inc"
	;

static const struct {
	const char *name, *script;
} shells[] = {
	{ "bash", bash_script },
	{ "zsh", zsh_script },
	{ "fish", fish_script },
};

static int verb_completions(struct ctx *c, void *options)
{
	struct suggest near = SUGGEST_INIT(slice_str(c->argv[0]));
	char hint[SUGGEST_TEXT_MAX];
	(void)options;
	for (size_t i = 0; i < ARRAY_SIZE(shells); i++) {
		_cleanup_buf_ struct buf script = BUF_INIT;
		if (strcmp(shells[i].name, c->argv[0]) == 0 && c->argc > 1) {
			int from = strcmp(c->argv[1], "--") == 0 ? 2 : 1;
			return complete_words(c, c->argv + from, c->argc - from);
		}
		buf_adds(&script, shells[i].script);
		if (strcmp(shells[i].name, c->argv[0]) == 0)
			return ctx_print(c, &script);
		suggest_offer(&near, shells[i].name);
	}
	return fail(c, EXIT_USAGE, "no completions for '%s'%s: bash, zsh or fish", c->argv[0],
		    suggest_text(&near, hint));
}

const struct verb cmd_completions = {
	.name = "completions",
	.run = verb_completions,
	.usage = "bash|zsh|fish [-- WORD...]",
	.help = "print the completion script of a shell",
	.more = "Where batchctl was installed with its files the shells find it by themselves; else\n\n"
		"  eval \"$(batchctl completions bash)\"              # in ~/.bashrc\n"
		"  eval \"$(batchctl completions zsh)\"               # in ~/.zshrc, after compinit\n"
		"  batchctl completions fish | source               # in config.fish\n\n"
		"With words: what may complete the last of them, a line each, after a line that says\n"
		"what else the shell should offer. Never starts a daemon.\n\n"
		"  batchctl completions bash -- cancel ''\n",
	.stop_at_operand = true,
	.min_args = 1,
	.max_args = -1,
};
