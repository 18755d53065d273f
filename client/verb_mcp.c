#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/mcp.h"
#include "common/lock.h"
#include "common/paths.h"
#include "common/xalloc.h"

struct mcp_options {
	struct strv pass_env;
};

static const struct opt mcp_opts[] = {
	{ "pass-env", 0, OPT_STRV, offsetof(struct mcp_options, pass_env), "NAME",
	  "give ops this variable though it looks like a secret" },
	OPT_END,
};

/* The official SDKs start servers without XDG_RUNTIME_DIR: what it would say is found again, so
 * that the agent meets the daemon that its person uses. */
static void mcp_find_runtime(void)
{
	char path[64];
	struct stat st;
	snprintf(path, sizeof(path), "/run/user/%u", (unsigned)getuid());
	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == getuid())
		setenv("XDG_RUNTIME_DIR", path, 1);
}

static char *mcp_find_socket(const struct ctx *c)
{
	_cleanup_free_ char *dflt = path_default_socket(), *state = path_default_state(NULL);
	_cleanup_(lock_holder_done) struct lock_holder h = LOCK_HOLDER_INIT;
	const char *named = getenv("BATCHD_SOCKET");
	if ((named && *named) || getenv("XDG_RUNTIME_DIR") || !dflt || strcmp(c->socket, dflt) != 0)
		return xstrdup(c->socket);
	if (state && lock_look(state, &h) && h.socket)
		return xstrdup(h.socket);
	mcp_find_runtime();
	return path_default_socket();
}

static int mcp_serve_here(struct ctx *c, const struct strv *pass_env)
{
	_cleanup_free_ char *socket = mcp_find_socket(c);
	struct ctx here = *c;
	here.socket = socket;
	if (isatty(STDIN_FILENO))
		note(c,
		     "a client speaks to it in JSON on stdin; `batchctl mcp config` says how one "
		     "is told of it (^D ends)");
	int status = mcp_serve(&here, pass_env);
	c->conn = here.conn;
	return status;
}

static int verb_mcp(struct ctx *c, void *options)
{
	const struct mcp_options *o = options;
	if (!c->argc)
		return mcp_serve_here(c, &o->pass_env);
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
