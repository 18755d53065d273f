#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/notify.h"
#include "client/selectors.h"
#include "client/submit.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/notify_batch.h"
#include "proto/pack.h"

struct notify_options {
	bool exec, everywhere;
};

static const struct opt notify_opts[] = {
	{ "everywhere", 0, OPT_FLAG, offsetof(struct notify_options, everywhere), NULL,
	  "runs of all projects" },
	{ "exec", 0, OPT_FLAG, offsetof(struct notify_options, exec), NULL,
	  "run CMD here and now, as it is when the run has ended" },
	OPT_END,
};

/* What the command is told, and where in the run it stands. */
static const struct {
	const char *name, *key;
	bool in_summary, number;
} told[] = {
	{ "BATCHD_RUN", "run", false, true },
	{ "BATCHD_STATE", "state", false, false },
	{ "BATCHD_NAME", "name", false, false },
	{ "BATCHD_GROUP", "group", false, false },
	{ "BATCHD_PROJECT", "project", false, false },
	{ "BATCHD_LIST", "list", false, false },
	{ "BATCHD_CREATED", "created", false, true },
	{ "BATCHD_STARTED", "started", false, true },
	{ "BATCHD_ENDED", "ended", false, true },
	{ "BATCHD_OPS", "ops", true, true },
	{ "BATCHD_SUCCEEDED", "succeeded", true, true },
	{ "BATCHD_FAILED", "failed", true, true },
	{ "BATCHD_SKIPPED", "skipped", true, true },
	{ "BATCHD_CANCELLED", "cancelled", true, true },
	{ "BATCHD_INTERRUPTED", "interrupted", true, true },
	{ "BATCHD_WALL_MS", "wall_ms", true, true },
};

static void notify_environ(struct slice run)
{
	for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
		struct slice map = told[i].in_summary ? mp_find(run, "summary") : run;
		char number[24];
		snprintf(number, sizeof(number), "%" PRId64, mp_get_int(map, told[i].key, 0));
		_cleanup_free_ char *text =
			told[i].number ? xstrdup(number) : xslicedup(mp_get_str(map, told[i].key));
		setenv(told[i].name, text ? text : "", 1);
	}
	unsetenv("BATCHD_OP"); /* it is in no op of the run that it is told of */
}

/*
 * Asks until it is answered: a batchd that is restarted knows of the run all the same, and nobody
 * but us would run the command. One that was stopped is waited for as well, for as long as a
 * notification may take.
 */
static int notify_ask(struct ctx *c, const struct buf *params, struct buf *reply)
{
	int64_t deadline = time_mono_ms() + NOTIFY_TIMEOUT_S * 1000;
	struct err e = ERR_INIT;
	for (;;) {
		int r = c->conn ? ctx_try(c, "run.get", params, reply, &e) : -ECONNRESET;
		if (r >= 0)
			return r ? fail_err(c, &e) : EXIT_OK;
		int status = ctx_reconnect(c, -1);
		if (status && (status != EXIT_NO_DAEMON || time_mono_ms() > deadline))
			return status;
	}
}

/* Replaces us by the command, in the folder of the run. */
static int notify_exec(struct ctx *c, const char *number, const char *command)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	int64_t run;
	if (!parse_int(slice_str(number), 1, LIMIT_INT, &run))
		return fail(c, EXIT_USAGE, "--exec takes the number of a run, not '%s'", number);
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	pk_kstr(&pk, "ops", slice_str("none"));
	pk_end(&pk);
	int status = notify_ask(c, &params, &reply);
	if (status)
		return status;
	_cleanup_free_ char *cwd = xslicedup(mp_get_str(buf_slice(&reply), "cwd"));
	notify_environ(buf_slice(&reply));
	ctx_disconnect(c);
	if (cwd && chdir(cwd) < 0)
		note(c, "'%s' is gone; in '/'", cwd);
	execlp("bash", "bash", "-c", command, (char *)NULL);
	return fail(c, EXIT_NOT_FOUND, "cannot execute bash: %s", errno_text(errno));
}

static int verb_notify(struct ctx *c, void *options)
{
	const struct notify_options *o = options;
	struct selection s = SELECTION_INIT;
	struct selector how = { .words = c->argv,
				.n = 1,
				.everywhere = o->everywhere,
				.all = WHICH_ACTIVE,
				.range = WHICH_ANY };
	if (c->argv[1][strspn(c->argv[1], " \t\n")] == '\0')
		return fail(c, EXIT_USAGE, "which command? usage: batchctl notify RUN CMD");
	if (o->exec)
		return notify_exec(c, c->argv[0], c->argv[1]);
	int status = ctx_connect(c, CTX_MAY_START);
	if (status == EXIT_OK)
		status = selection_resolve(c, &how, &s);
	for (size_t i = 0; status == EXIT_OK && i < s.n; i++) {
		int64_t by = 0;
		status = notify_submit(c, s.v[i].run, c->argv[1], &by);
		if (status == EXIT_OK)
			status = submit_tell(c, by, false);
	}
	selection_done(&s);
	return status;
}

const struct verb cmd_notify = {
	.name = "notify",
	.run = verb_notify,
	.usage = "RUN CMD",
	.help = "have a command run when a run has ended",
	.more = "What submit, add and run do with -N: CMD is a bash command that runs once the run has\n"
		"ended, however, also when nobody waits any more, in the folder of the run and with\n"
		"its state in BATCHD_RUN, BATCHD_STATE, BATCHD_NAME, BATCHD_FAILED and the like. It is\n"
		"a run of its own (`batchctl status --everywhere`), whose id is printed.\n\n"
		"  batchctl notify last 'notify-send \"run $BATCHD_RUN: $BATCHD_STATE\"'\n"
		"  batchctl add -N 'mail -s \"$BATCHD_NAME $BATCHD_STATE\" me </dev/null' -- make\n",
	.options = notify_opts,
	.options_size = sizeof(struct notify_options),
	.min_args = 2,
	.max_args = 2,
};
