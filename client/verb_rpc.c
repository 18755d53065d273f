#include <errno.h>
#include <unistd.h>

#include "client/bridge.h"
#include "client/ctx.h"
#include "client/json.h"
#include "common/fd.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/methods.h"
#include "proto/suggest.h"

struct rpc_options {
	const char *framing;
	bool no_start;
};

static const char *const rpc_framings[] = { "ndjson", "lsp", NULL };

static const struct opt rpc_opts[] = {
	{ "framing", 0, OPT_ENUM, offsetof(struct rpc_options, framing), "HOW",
	  "JSON-RPC 2.0 on stdio: ndjson (a line each) or lsp", rpc_framings },
	{ "no-start", 0, OPT_FLAG, offsetof(struct rpc_options, no_start), NULL,
	  "never start a daemon" },
	OPT_END,
};

static int rpc_read_params(struct ctx *c, const char *text, struct buf *params)
{
	_cleanup_buf_ struct buf input = BUF_INIT;
	_cleanup_json_ json_t *value = NULL;
	struct err e = ERR_INIT;
	struct slice bytes = slice_str(text);
	if (strcmp(text, "-") == 0) {
		int r = fd_read_all(STDIN_FILENO, LIMIT_FRAME_BYTES, &input);
		if (r < 0)
			return fail(c, EXIT_USAGE, "cannot read stdin: %s", strerror(-r));
		bytes = buf_slice(&input);
	}
	if (json_read(bytes, "params", &value, &e) || json_to_mp(value, params, &e))
		return fail(c, EXIT_USAGE, "%s", e.text);
	if (!json_is_object(value) && !(json_is_array(value) && json_array_size(value) == 0))
		return fail(c, EXIT_USAGE, "params are one JSON object, as in '{\"run\": 7}'");
	return EXIT_OK;
}

/* Methods that neither change anything nor need what has run here do without a daemon being
 * started. */
static int rpc_connect(struct ctx *c, const struct rpc_options *o, const char *method)
{
	bool about_daemon =
		strcmp(method, "daemon.status") == 0 || strcmp(method, "daemon.stop") == 0;
	return ctx_connect(c, about_daemon || o->no_start ? CTX_NEVER_START : CTX_MAY_START);
}

static int rpc_fail(struct ctx *c, const char *method, const struct err *e)
{
	struct suggest near = SUGGEST_INIT(slice_str(method));
	char hint[SUGGEST_TEXT_MAX] = "";
	if (e->sym == E_METHOD) {
		for (int i = 0; i < METHOD_MAX; i++)
			suggest_offer(&near, methods[i].name);
		if (!strstr(e->text, "did you mean"))
			suggest_text(&near, hint);
	}
	return fail(c, err_symbol_is_callers(e->sym) ? EXIT_USAGE : EXIT_RUN, "%s%s", e->text,
		    hint);
}

static int verb_rpc(struct ctx *c, void *options)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct err e = ERR_INIT;
	const struct rpc_options *o = options;
	const char *method = c->argc ? c->argv[0] : NULL;
	if (o->framing && c->argc)
		return fail(c, EXIT_USAGE, "'%s': with --framing the methods come on stdin",
			    method);
	if (o->framing)
		return bridge_serve(c,
				    strcmp(o->framing, "lsp") == 0 ? FRAMING_LSP : FRAMING_NDJSON,
				    !o->no_start);
	if (!c->argc)
		return fail(c, EXIT_USAGE,
			    "name a METHOD, as in `batchctl rpc daemon.status`, or --framing");
	int status = c->argc > 1 ? rpc_read_params(c, c->argv[1], &params) : EXIT_OK;
	if (status == EXIT_OK)
		status = rpc_connect(c, o, method);
	if (status)
		return status;
	int r = ctx_try(c, method, params.len ? &params : NULL, &reply, &e);
	if (r < 0)
		return fail(c, EXIT_NO_DAEMON, "%s", e.text);
	return r ? rpc_fail(c, method, &e) : ctx_print_json(c, buf_slice(&reply));
}

const struct verb cmd_rpc = {
	.name = "rpc",
	.run = verb_rpc,
	.usage = "METHOD [JSON|-] | --framing=ndjson|lsp",
	.help = "call a method of the wire; its result as JSON",
	.more = "\"-\" reads the params from stdin. With --framing any number of calls come on stdin as\n"
		"JSON-RPC 2.0, and their answers and the events of subscriptions go to stdout.\n\n"
		"  batchctl rpc run.get '{\"run\": 12, \"ops\": \"failed\"}'\n"
		"  batchctl rpc todo.list '{\"list\": \"default\"}'\n"
		"  echo '{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"daemon.status\"}' |\n"
		"      batchctl rpc --framing=ndjson\n",
	.options = rpc_opts,
	.options_size = sizeof(struct rpc_options),
	.max_args = 2,
};
