#include <errno.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/json.h"
#include "common/fd.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/methods.h"
#include "proto/suggest.h"

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
static int rpc_connect(struct ctx *c, const char *method)
{
	bool about_daemon =
		strcmp(method, "daemon.status") == 0 || strcmp(method, "daemon.stop") == 0;
	return ctx_connect(c, about_daemon ? CTX_NEVER_START : CTX_MAY_START);
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
	const char *method = c->argv[0];
	(void)options;
	int status = c->argc > 1 ? rpc_read_params(c, c->argv[1], &params) : EXIT_OK;
	if (status == EXIT_OK)
		status = rpc_connect(c, method);
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
	.usage = "METHOD [JSON|-]",
	.help = "call a method of the wire; its result as JSON",
	.more = "\"-\" reads the params from stdin.\n\n"
		"  batchctl rpc run.get '{\"run\": 12, \"ops\": \"failed\"}'\n"
		"  batchctl rpc todo.list '{\"list\": \"default\"}'\n",
	.min_args = 1,
	.max_args = 2,
};
