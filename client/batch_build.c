#include "client/batch_build.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/ctx.h"
#include "client/own_runs.h"
#include "client/selectors.h"
#include "client/term.h"
#include "common/timeutil.h"
#include "proto/mp.h"
#include "proto/pack.h"

const char *const opt_orders[] = { "parallel", "serial", "as-if-serial", NULL };
const char *const opt_failures[] = { "stop", "continue", "kill", NULL };

extern char **environ;

/* What the file may say instead of us. */
enum said { SAID_CWD, SAID_ENV_BASE, SAID_UMASK, SAID_LIST, SAID_MAX };

struct build {
	struct ctx *c;
	const struct submit_options *o;
	const struct batch_source *from;
	struct pk *pk;
	bool said[SAID_MAX];
};

/* Where the file says something (null counts as nothing): all in one go over it, which may be long.
 */
static void build_look(struct build *b)
{
	static const char *const keys[] = { "cwd", "env_base", "umask", "list" };
	_Static_assert(ARRAY_SIZE(keys) == SAID_MAX, "a name for each");
	struct mp m = mp_of(pk_peek(b->pk));
	for (uint32_t left = mp_next(&m).count; left > 0; left--) {
		struct slice key = mp_next(&m).bytes;
		bool said = mp_peek(&m) != MP_NIL;
		mp_skip(&m);
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			b->said[i] = b->said[i] || (said && slice_is(key, keys[i]));
	}
}

static void build_str(struct build *b, const char *key, const char *value)
{
	if (value)
		pk_ktext(b->pk, key, slice_str(value));
}

/* Durations travel with their unit. */
static void build_duration(struct build *b, const char *key, const struct opt_int *d)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	if (!d->set)
		return;
	duration_print(&text, d->v);
	pk_kstr(b->pk, key, buf_slice(&text));
}

static void build_int(struct build *b, const char *key, const struct opt_int *i)
{
	if (i->set)
		pk_kint(b->pk, key, i->v);
}

static int build_runs(struct build *b, const char *key, const struct strv *words)
{
	_cleanup_(selection_done) struct selection runs = SELECTION_INIT;
	if (!words->n)
		return EXIT_OK;
	struct selector how = { .words = words->v, .n = (int)words->n };
	int status = selection_resolve(b->c, &how, &runs);
	/* Not waited for, a run may well begin when the one that submits it has ended. */
	if (status == EXIT_OK && (b->o->wait || b->from->no_output_cap))
		status = own_runs_leave_out(b->c, &runs, true);
	if (status)
		return status;
	pk_key(b->pk, key);
	pk_array(b->pk);
	for (size_t i = 0; i < runs.n; i++)
		pk_int(b->pk, runs.v[i].run);
	pk_end(b->pk);
	return EXIT_OK;
}

void batch_pack_environ(struct pk *pk)
{
	pk_key(pk, "env_base");
	pk_map(pk);
	for (char **e = environ; *e; e++) {
		size_t len = strcspn(*e, "=");
		bool again = false;
		if (len == 0 || (*e)[len] != '=')
			continue;
		for (char **f = environ; f < e && !again; f++)
			again = strncmp(*f, *e, len + 1) == 0;
		if (again)
			continue;
		pk_keyslice(pk, slice_of(*e, len));
		pk_text(pk, slice_str(*e + len + 1));
	}
	pk_end(pk);
}

/* Is the variable `name` set by a later -E than number i (from -1: by any)? */
static bool build_env_named(const struct submit_options *o, size_t from, const char *name,
			    size_t len)
{
	for (size_t i = from; i < o->env.n; i++)
		if (strncmp(o->env.v[i], name, len) == 0 &&
		    (o->env.v[i][len] == '=' || o->env.v[i][len] == '\0'))
			return true;
	return false;
}

/* What the file's env has and no -E names. */
static void build_env_file(struct build *b, struct slice env)
{
	struct mp m = mp_of(env);
	struct mp_value map = mp_next(&m);
	for (uint32_t i = 0; map.type == MP_MAP && i < map.count; i++) {
		struct slice key = mp_next(&m).bytes, value = mp_skip(&m);
		if (build_env_named(b->o, 0, key.p, key.len))
			continue;
		pk_keyslice(b->pk, key);
		pk_raw(b->pk, value);
	}
}

static void build_env(struct build *b)
{
	_cleanup_buf_ struct buf file = BUF_INIT;
	if (!b->o->env.n)
		return;
	if (b->from->file)
		buf_addslice(&file, mp_find(pk_peek(b->pk), "env"));
	pk_drop(b->pk, "env");
	pk_key(b->pk, "env");
	pk_map(b->pk);
	build_env_file(b, buf_slice(&file));
	for (size_t i = 0; i < b->o->env.n; i++) {
		const char *e = b->o->env.v[i];
		size_t len = strcspn(e, "=");
		if (build_env_named(b->o, i + 1, e, len))
			continue;
		pk_keyslice(b->pk, slice_of(e, len));
		if (e[len])
			pk_text(b->pk, slice_str(e + len + 1));
		else
			pk_nil(b->pk);
	}
	pk_end(b->pk);
}

/* A terminal of its own is as large as ours (environ(7)). In the base environment, so that the
 * batch is the same from a terminal of another size. */
static void build_window(void)
{
	char text[16];
	int cols, rows;
	if (!isatty(STDOUT_FILENO))
		return;
	term_size(STDOUT_FILENO, &cols, &rows);
	snprintf(text, sizeof(text), "%d", cols);
	setenv("COLUMNS", text, 1);
	snprintf(text, sizeof(text), "%d", rows);
	setenv("LINES", text, 1);
}

static int build_surroundings(struct build *b)
{
	const char *cwd = ctx_cwd();
	if (!b->said[SAID_CWD] || b->c->dir) {
		if (!cwd)
			return fail(b->c, EXIT_USAGE,
				    "the current folder is gone: go to another, or give -C DIR");
		pk_ktext(b->pk, "cwd", slice_str(cwd));
	}
	if (b->o->pty)
		build_window();
	if (!b->said[SAID_ENV_BASE])
		batch_pack_environ(b->pk);
	if (!b->said[SAID_UMASK]) {
		char text[8];
		mode_t mask = umask(022);
		umask(mask);
		snprintf(text, sizeof(text), "%03o", (unsigned)mask);
		pk_kstr(b->pk, "umask", slice_str(text));
	}
	return EXIT_OK;
}

static int build_flags(struct build *b)
{
	const struct submit_options *o = b->o;
	build_str(b, "name", o->name);
	build_str(b, "key", o->key);
	build_str(b, "order", o->order);
	build_str(b, "on_failure", o->on_failure);
	build_str(b, "group", o->group);
	build_int(b, "jobs", &o->jobs);
	build_int(b, "priority", &o->priority);
	build_duration(b, "timeout", &o->timeout);
	if (o->hold)
		pk_kbool(b->pk, "held", true);
	/* Not the time it comes to: sent again with its key the batch is to be the same. */
	build_duration(b, "delay", &o->delay);
	const char *list = o->list ? o->list : b->said[SAID_LIST] ? NULL : getenv("BATCHD_LIST");
	build_str(b, "list", list && *list ? list : NULL);
	if (b->from->no_output_cap)
		pk_kint(b->pk, "output_cap", 0);
	build_env(b);
	int status = build_runs(b, "needs_runs", &o->after);
	return status ? status : build_runs(b, "after_any_runs", &o->after_any);
}

/* Takes out of the file what a flag overrules (env is merged). */
static void build_overrule(struct build *b)
{
	const struct submit_options *o = b->o;
	const struct {
		const char *key;
		bool yes;
	} rules[] = {
		{ "name", o->name },
		{ "key", o->key },
		{ "order", o->order },
		{ "on_failure", o->on_failure },
		{ "group", o->group },
		{ "jobs", o->jobs.set },
		{ "priority", o->priority.set },
		{ "timeout", o->timeout.set },
		{ "held", o->hold },
		{ "not_before", o->delay.set },
		{ "delay", o->delay.set },
		{ "list", o->list },
		{ "cwd", b->c->dir },
		{ "needs_runs", o->after.n > 0 },
		{ "after_any_runs", o->after_any.n > 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (rules[i].yes)
			pk_drop(b->pk, rules[i].key);
}

static void build_command(struct build *b, const char *command)
{
	pk_kstr(b->pk, "kind", slice_str("bash"));
	pk_ktext(b->pk, "command", slice_str(command));
}

static void build_one(struct build *b)
{
	pk_map(b->pk);
	if (b->from->argc == 1) {
		build_command(b, b->from->argv[0]);
	} else {
		pk_kstr(b->pk, "kind", slice_str("exec"));
		pk_key(b->pk, "argv");
		pk_array(b->pk);
		for (int i = 0; i < b->from->argc; i++)
			pk_text(b->pk, slice_str(b->from->argv[i]));
		pk_end(b->pk);
	}
	if (b->from->op_stdin)
		pk_kbin(b->pk, "stdin", *b->from->op_stdin);
	if (b->o->pty)
		pk_kbool(b->pk, "pty", true);
	pk_end(b->pk);
}

static void build_ops(struct build *b)
{
	pk_key(b->pk, "messages");
	pk_array(b->pk);
	pk_map(b->pk);
	build_str(b, "halt", b->from->halt);
	build_duration(b, "spacing", &b->from->spacing);
	pk_key(b->pk, "ops");
	pk_array(b->pk);
	for (size_t i = 0; b->from->commands && i < b->from->commands->n; i++) {
		pk_map(b->pk);
		build_command(b, b->from->commands->v[i]);
		pk_end(b->pk);
	}
	if (b->from->argc)
		build_one(b);
	if (b->from->pack)
		b->from->pack(b->from->pack_arg, b->pk);
	pk_end(b->pk);
	pk_end(b->pk);
	pk_end(b->pk);
}

int batch_build(struct ctx *c, const struct submit_options *o, const struct batch_source *from,
		struct pk *pk)
{
	struct build b = { .c = c, .o = o, .from = from, .pk = pk };
	for (size_t i = 0; i < o->env.n; i++)
		if (o->env.v[i][0] == '=' || o->env.v[i][0] == '\0')
			return fail(c, EXIT_USAGE,
				    "-E '%s': write NAME=VALUE, or NAME to remove it", o->env.v[i]);
	if (from->file) {
		build_overrule(&b);
		build_look(&b);
	}
	int status = build_flags(&b);
	if (status == EXIT_OK)
		status = build_surroundings(&b);
	if (status == EXIT_OK && !from->file)
		build_ops(&b);
	return status;
}
