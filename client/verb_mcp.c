#include <string.h>

#include "client/mcp.h"

struct mcp_options {
	struct strv pass_env;
};

static const struct opt mcp_opts[] = {
	{ "pass-env", 0, OPT_STRV, offsetof(struct mcp_options, pass_env), "NAME",
	  "give ops this variable though it looks like a secret" },
	OPT_END,
};

static int verb_mcp(struct ctx *c, void *options)
{
	const struct mcp_options *o = options;
	if (!c->argc)
		return mcp_serve(c, &o->pass_env);
	if (strcmp(c->argv[0], "config") == 0)
		return mcp_config(c, c->argc > 1 ? c->argv[1] : NULL);
	return fail(c, EXIT_USAGE,
		    "'%s': it is `batchctl mcp` to serve, `batchctl mcp config` to "
		    "see how clients are told of it",
		    c->argv[0]);
}

const struct verb cmd_mcp = {
	.name = "mcp",
	.run = verb_mcp,
	.usage = "[config [CLIENT]]",
	.help = "serve the Model Context Protocol on stdio, for coding agents",
	.more = "A client starts it; `mcp config` prints what to tell the client: claude-code,\n"
		"cursor, vscode, codex and others. Of our environment the ops get all but\n"
		"*_TOKEN, *_KEY, *SECRET* and SSH_*, unless named. `batchctl help agents` is for\n"
		"the model.\n\n"
		"  batchctl mcp config vscode > .vscode/mcp.json\n"
		"  batchctl mcp --pass-env GITHUB_TOKEN\n",
	.options = mcp_opts,
	.options_size = sizeof(struct mcp_options),
	.max_args = 2,
};
