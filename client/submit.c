#include "client/submit.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/batchfile.h"
#include "client/ctx.h"
#include "client/daemon_start.h"
#include "client/plan_folders.h"
#include "client/plan_print.h"
#include "client/progress.h"
#include "common/lock.h"
#include "common/paths.h"
#include "common/text.h"
#include "common/xalloc.h"
#include "proto/batch.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/pack.h"

#define SENDS_MAX 3 /* of one batch: should batchd die of it, not for ever */

int submit_check(struct ctx *c, const struct submit_options *o)
{
	if (o->output && !o->wait)
		return fail(c, EXIT_USAGE, "-o shows output while waiting: add -w");
	return EXIT_OK;
}

/* `-w DIR [--] CMD`, as pueue has it: here -w takes nothing, which leaves the folder as the
 * program. */
static bool command_is_folder(const char *const *argv)
{
	struct stat st;
	bool slash = strchr(argv[0], '/'), dashes = strcmp(argv[1], "--") == 0;
	if (stat(argv[0], &st) < 0)
		return slash && dashes;
	if (!S_ISDIR(st.st_mode))
		return false;
	_cleanup_free_ char *program = slash || dashes ? NULL : path_in_path(argv[0]);
	return !program;
}

int submit_command(struct ctx *c, const struct submit_options *o, struct batch_source *from)
{
	const struct reading *r = &o->reading;
	from->argv = c->argc ? c->argv : o->commands.v;
	from->argc = c->argc ? c->argc : (int)o->commands.n;
	if (c->argc && o->commands.n)
		return fail(c, EXIT_USAGE, "give a command or -e, not both");
	if (from->argc == 0)
		return fail(c, EXIT_USAGE, "which command? usage: %s [--] CMD...", c->command);
	if (o->wait && from->argc > 1 && command_is_folder(from->argv))
		return fail(c, EXIT_USAGE,
			    "-w is --wait here and takes nothing: the folder to run in is -C %s",
			    from->argv[0]);
	if (o->commands.n > 1)
		return fail(c, EXIT_USAGE,
			    "one command only: `batchctl submit -e CMD -e CMD` takes several");
	if (r->define.n || r->block || r->skip_unknown || r->allow_template)
		note(c, "--define, --block, --skip-unknown and --allow-template are for batch "
			"files: a command is taken as it is");
	return EXIT_OK;
}

/* The file's name as batchfile.h takes it. */
static const char *submit_file(struct ctx *c, const char *name)
{
	if ((!name || strcmp(name, "-") == 0) && isatty(STDIN_FILENO))
		note(c, "reading a batch from the terminal; end it with ^D");
	return name ? name : "-";
}

int submit_read(struct ctx *c, const struct reading *how, const char *name, json_t **ret)
{
	struct err e = ERR_INIT;
	if (batchfile_read(submit_file(c, name), how, ret, &e))
		return fail(c, EXIT_USAGE, "%s", e.text);
	return EXIT_OK;
}

static void submit_open(struct pk *pk)
{
	pk_map(pk);
	pk_key(pk, "batch");
	pk_map(pk);
}

/* Is it a command, where a file is asked for? */
static bool submit_is_command(const char *name)
{
	size_t len = name ? strcspn(name, " \t") : 0;
	if (!len || access(name, F_OK) == 0)
		return false;
	_cleanup_free_ char *first = xslicedup(slice_of(name, len));
	_cleanup_free_ char *program = path_in_path(first);
	return program;
}

int submit_read_packed(struct ctx *c, const struct reading *how, const char *name, bool sent,
		       struct batch_source *from)
{
	struct err e = ERR_INIT;
	submit_open(from->file);
	int r = batchfile_read_packed(submit_file(c, name), how, from->file,
				      sent ? &from->unproved : NULL, &e);
	/* None is started for a batch that is no good. */
	if (r == 0 && from->unproved && !daemon_is_running(c->socket))
		r = batchfile_prove(TAKE_PTR(from->unproved), from->file, &e);
	if (r)
		return fail(c, EXIT_USAGE, "%s%s", e.text,
			    submit_is_command(name) ? "; a command is -e CMD" : "");
	return EXIT_OK;
}

/* Of a batch that was not proved before it was sent: as its proof would have told. */
static int submit_refused(struct ctx *c, const struct batch_source *from, struct slice batch,
			  const struct err *e)
{
	struct plan *plan = NULL;
	struct err own = ERR_INIT;
	int status = from->unproved && plan_make(batch, &plan, &own)
			     ? fail(c, EXIT_USAGE, "%s: %s", from->unproved, own.text)
			     : fail_err(c, e);
	plan_free(plan);
	return status;
}

static void submit_pack_notify(const struct submit_options *o, struct pk *pk)
{
	if (!o->notify.n)
		return;
	pk_key(pk, "notify");
	pk_array(pk);
	for (size_t i = 0; i < o->notify.n; i++)
		pk_text(pk, slice_str(o->notify.v[i]));
	pk_end(pk);
}

/* {batch: ...} for batch.submit and batch.check: what the file's packing has begun, or in `own`. */
static int submit_params(struct ctx *c, const struct submit_options *o,
			 const struct batch_source *from, struct buf *own, const struct buf **ret)
{
	struct pk fresh = PK_INIT(own), *pk = from->file ? from->file : &fresh;
	if (!from->file)
		submit_open(pk);
	int status = batch_build(c, o, from, pk);
	if (status)
		return status;
	pk_end(pk);
	if (pk->b->len > LIMIT_FRAME_BYTES - 4096)
		return fail(c, EXIT_USAGE,
			    "the batch is %zu MiB long, at most %u are taken: split it",
			    pk->b->len >> 20, LIMIT_FRAME_BYTES >> 20);
	submit_pack_notify(o, pk);
	pk_end(pk);
	*ret = pk->b;
	return EXIT_OK;
}

/* Does the daemon of our own state folder serve the socket? Then whoever serves it next, also one
 * that we start, has that folder too. */
static bool submit_is_ours(const struct ctx *c)
{
	_cleanup_free_ char *state = path_default_state(NULL);
	_cleanup_(lock_holder_done) struct lock_holder h = LOCK_HOLDER_INIT;
	return state && lock_look(state, &h) && h.socket && strcmp(h.socket, c->socket) == 0;
}

/*
 * Sends until it is answered. With a key that may be done more than once: what was taken the first
 * time is found by it. A daemon of another state folder would not find it, so one that is not ours
 * is waited for and not started.
 */
static int submit_until_answered(struct ctx *c, const struct batch_source *from,
				 const struct buf *params, struct slice key, bool *ret_again,
				 struct buf *reply)
{
	bool ours = key.p && submit_is_ours(c);
	struct err e = ERR_INIT;
	for (int n = 1;; n++) {
		int r = ctx_try(c, "batch.submit", params, reply, &e);
		*ret_again = n > 1;
		if (r >= 0)
			return r ? submit_refused(c, from, mp_find(buf_slice(params), "batch"), &e)
				 : EXIT_OK;
		if (!key.p || n == SENDS_MAX)
			return fail(c, EXIT_NO_DAEMON,
				    "batchd went away before it answered: see `batchctl status` "
				    "whether it took the batch%s",
				    key.p ? ", or submit again with the same key" : "");
		ctx_disconnect(c);
		int status = ours ? ctx_connect(c, CTX_MAY_START) : ctx_reconnect(c, -1);
		if (status)
			return status;
	}
}

/* Of the batch, which stands first in the params: its end, which is far away, is not looked for. */
static struct slice submit_key(struct slice params)
{
	struct mp m = mp_of(params);
	mp_next(&m);
	mp_next(&m);
	return mp_get_str(slice_of(m.p, (size_t)(m.end - m.p)), "key");
}

int submit_send(struct ctx *c, const struct submit_options *o, const struct batch_source *from,
		int64_t *ret_run, bool *ret_existing)
{
	_cleanup_buf_ struct buf own = BUF_INIT, reply = BUF_INIT;
	const struct buf *params;
	bool again = false;
	int status = ctx_connect(c, CTX_MAY_START);
	if (status == EXIT_OK)
		status = submit_params(c, o, from, &own, &params);
	if (status)
		return status;
	struct slice key = submit_key(buf_slice(params));
	status = submit_until_answered(c, from, params, key, &again, &reply);
	if (status)
		return status;
	ctx_warnings(c, buf_slice(&reply));
	*ret_run = mp_get_int(buf_slice(&reply), "run", 0);
	*ret_existing = mp_get_bool(buf_slice(&reply), "existing");
	if (*ret_existing && !again)
		note(c, "key '%.*s' was used before: run %" PRId64, SLICE_FMT(key), *ret_run);
	return EXIT_OK;
}

int submit_tell(struct ctx *c, int64_t run, bool existing)
{
	_cleanup_buf_ struct buf b = BUF_INIT, id = BUF_INIT;
	buf_addf(&id, "%" PRId64 "\n", run);
	struct pk pk = PK_INIT(&b);
	pk_map(&pk);
	pk_kint(&pk, "run", run);
	pk_kbool(&pk, "existing", existing);
	pk_end(&pk);
	int printed = c->json ? ctx_print_json(c, buf_slice(&b)) : ctx_print(c, &id);
	return ctx_print_changed(c, printed, "it was submitted all the same, as run", &id);
}

/* Asks a running batchd, which knows files and todo lists; else what the batch itself tells is
 * proved here. */
int submit_plan(struct ctx *c, const struct submit_options *o, const struct batch_source *from)
{
	_cleanup_buf_ struct buf own = BUF_INIT, reply = BUF_INIT, whole = BUF_INIT;
	const struct buf *params;
	struct err e = ERR_INIT;
	bool asks = (o->after.n || o->after_any.n || daemon_is_running(c->socket)) &&
		    ctx_connect(c, CTX_NEVER_START) == EXIT_OK;
	struct submit_options checked = *o;
	checked.notify.n = 0; /* what tells of its end is no part of what is checked */
	int status = submit_params(c, &checked, from, &own, &params);
	if (status)
		return status;
	int r = asks ? ctx_try(c, "batch.check", params, &reply, &e) : -ECONNRESET;
	if (r < 0)
		r = plan_check(mp_find(buf_slice(params), "batch"), &reply, &e);
	if (r)
		return fail_err(c, &e);
	plan_folders(mp_find(buf_slice(params), "batch"), buf_slice(&reply), &whole);
	ctx_warnings(c, buf_slice(&whole));
	if (c->json)
		return ctx_print_json(c, buf_slice(&whole));
	return plan_print(c, mp_find(buf_slice(params), "batch"));
}

int submit_and_follow(struct ctx *c, const struct submit_options *o,
		      const struct batch_source *from)
{
	int64_t run;
	bool existing;
	if (o->dry_run)
		return submit_plan(c, o, from);
	int status = submit_send(c, o, from, &run, &existing);
	if (status == EXIT_OK && !(o->wait && c->json))
		status = submit_tell(c, run, existing);
	if (status || !o->wait)
		return status;
	return progress_follow(c, &run, 1, true, o->output);
}
