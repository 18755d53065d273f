/*
 * From ready to the executor: the op is unpacked, its environment and argv are put together, and it
 * is handed over.
 */
#include <errno.h>
#include <inttypes.h>

#include "common/paths.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/live.h"
#include "proto/mp.h"

#define DEFAULT_UMASK 022

static void env_put(struct buf *b, const char *name, struct slice value)
{
	buf_adds(b, name);
	buf_addc(b, '=');
	buf_addslice(b, value);
	buf_addc(b, '\0');
}

static void env_put_number(struct buf *b, const char *name, uint64_t n)
{
	buf_addf(b, "%s=%" PRIu64, name, n);
	buf_addc(b, '\0');
}

/* The op's own variables: a nil value takes the name away. */
static void env_put_op(struct buf *b, struct slice env)
{
	if (!env.p)
		return;
	struct mp m = mp_of(env);
	struct mp_value map = mp_next(&m);
	for (uint32_t i = 0; map.type == MP_MAP && i < map.count; i++) {
		struct mp_value name = mp_next(&m);
		struct mp_value value = mp_next(&m);
		buf_addslice(b, name.bytes);
		if (value.type != MP_NIL) {
			buf_addc(b, '=');
			buf_addslice(b, value.bytes);
		}
		buf_addc(b, '\0');
	}
}

static void start_env(struct live_run *r, uint64_t token, const struct batch_op *spec,
		      const char *cwd, struct buf *b)
{
	env_put_op(b, spec->env);
	env_put(b, "PWD", slice_str(cwd));
	env_put(b, "BATCHD_SOCKET", slice_str(r->e->config.socket));
	/* Of whose runs the numbers are, whatever else BATCHD_SOCKET is set to in the op. */
	env_put(b, "BATCHD_OWNER", slice_str(r->e->config.socket));
	env_put_number(b, "BATCHD_RUN", r->id);
	env_put_number(b, "BATCHD_OP", token_op(token)); /* not its id: the spawner knows no ids */
	env_put_number(b, "BATCHD_ATTEMPT", token_attempt(token));
	env_put(b, "BATCHD_LIST", slice_str(r->list));
}

static void argv_put(struct buf *b, uint32_t *argc, struct slice arg)
{
	buf_addslice(b, arg);
	buf_addc(b, '\0');
	++*argc;
}

struct slice start_program(const struct live_run *r, const struct batch_op *spec)
{
	if (spec->kind == KIND_BASH)
		return spec->shell.p ? spec->shell : slice_str(r->e->config.shell);
	struct mp m = mp_of(spec->argv);
	mp_next(&m);
	return mp_next(&m).bytes;
}

/* The ops that TodoRead of the notation and a notification are. They run our own companion, which
 * need not be in PATH. NULL stands for a word of any kind. */
static bool start_is_ours(struct slice argv)
{
	static const struct {
		const char *words[5];
		uint32_t n;
	} ours[] = { { { "batchctl", "todo", "list", "--json" }, 4 },
		     { { "batchctl", "notify", "--exec", NULL, NULL }, 5 } };
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		struct mp m = mp_of(argv);
		bool is = mp_next(&m).count == ours[i].n;
		for (uint32_t w = 0; is && w < ours[i].n && ours[i].words[w]; w++)
			is = slice_is(mp_next(&m).bytes, ours[i].words[w]);
		if (is)
			return true;
	}
	return false;
}

/* Of these only we know that -- ends their options; python -c would take it for its program. */
static bool start_is_posix_shell(struct slice program)
{
	static const char *const names[] = { "bash", "sh", "dash", "ash", "ksh", "mksh", "zsh" };
	const char *slash = memrchr(program.p, '/', program.len);
	if (slash)
		program = slice_of(slash + 1, (size_t)(program.p + program.len - slash - 1));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (slice_is(program, names[i]))
			return true;
	return false;
}

static void argv_put_shell(struct buf *b, uint32_t *argc, struct slice program,
			   struct slice command)
{
	bool like_option = command.len && (command.p[0] == '-' || command.p[0] == '+');
	argv_put(b, argc, program);
	argv_put(b, argc, slice_str("-c"));
	if (like_option && start_is_posix_shell(program))
		argv_put(b, argc, slice_str("--"));
	argv_put(b, argc, command);
}

static uint32_t start_argv(const struct live_run *r, const struct batch_op *spec, struct buf *b)
{
	uint32_t argc = 0;
	if (spec->kind == KIND_BASH) {
		argv_put_shell(b, &argc, start_program(r, spec), spec->command);
		return argc;
	}
	const char *ours = start_is_ours(spec->argv) ? r->e->config.batchctl : NULL;
	struct mp m = mp_of(spec->argv);
	struct mp_value array = mp_next(&m);
	if (ours) {
		argv_put(b, &argc, slice_str(ours));
		mp_next(&m);
	}
	while (argc < array.count)
		argv_put(b, &argc, mp_next(&m).bytes);
	return argc;
}

static int64_t run_output_cap(const struct live_run *r, const struct batch_op *spec)
{
	if (spec->has_output_cap)
		return spec->output_cap;
	return r->plan->head.has_output_cap ? r->plan->head.output_cap : r->e->config.output_cap;
}

int64_t engine_output_cap(struct engine *e, uint64_t token)
{
	struct live_run *r = live_find(e, token_run(token));
	if (!r || token_op(token) > r->plan->n_ops)
		return e->config.output_cap;
	struct batch_op spec;
	plan_op_decode(r->plan, token_op(token) - 1, &spec);
	return run_output_cap(r, &spec);
}

static uint32_t run_umask(const struct live_run *r)
{
	return r->plan->head.has_umask ? (uint32_t)r->plan->head.umask : DEFAULT_UMASK;
}

static int start_command(struct live_run *r, uint64_t token, uint64_t after,
			 const struct batch_op *spec, const char *cwd)
{
	_cleanup_buf_ struct buf argv = BUF_INIT, env = BUF_INIT, stdin_path = BUF_INIT;
	_cleanup_free_ char *env_file =
		xasprintf("%s/%" PRIu64 ".env", r->e->config.runs_dir, r->id);
	uint32_t argc = start_argv(r, spec, &argv);
	start_env(r, token, spec, cwd, &env);
	if (spec->stdin_file.p)
		path_normal(&stdin_path, slice_str(cwd), spec->stdin_file);
	struct exec_spec x = {
		.token = token,
		.after = after,
		.cwd = cwd,
		.argv = buf_slice(&argv),
		.argc = argc,
		.env_file = env_file,
		.env_sum = r->env_sum,
		.env_extra = buf_slice(&env),
		.stdin_bytes = spec->stdin_bytes,
		.has_stdin_bytes = spec->stdin_bytes.p != NULL,
		.stdin_file = spec->stdin_file.p ? buf_str(&stdin_path) : NULL,
		.detach = spec->detach,
		.pty = spec->pty,
		.umask = run_umask(r),
		.output_cap = run_output_cap(r, spec),
	};
	return r->e->ports.start(r->e->ports.arg, &x);
}

static void start_file(struct live_run *r, uint32_t op, const struct batch_op *spec,
		       const char *cwd)
{
	_cleanup_buf_ struct buf path = BUF_INIT;
	path_normal(&path, slice_str(cwd), spec->path);
	r->e->ports.start_file(r->e->ports.arg, token_make(r->id, op + 1, r->ops[op].attempts),
			       spec, buf_str(&path), run_umask(r), run_output_cap(r, spec),
			       r->ops[op].recovered);
}

static void start_attempt(struct live_run *r, uint32_t op, const struct batch_op *spec)
{
	struct live_op *o = &r->ops[op];
	if (!o->attempt) {
		o->attempt = xcalloc(1, sizeof(*o->attempt));
		*o->attempt = (struct attempt){ .run = r, .op = op };
		o->attempt->timer = (struct timer){ .kind = TIMER_OP, .owner = o->attempt };
	}
	claims_set_tries(r, op, (uint16_t)(o->attempts + 1));
	o->attempt->begun_mono_ms = r->e->now_ms;
	o->kept = 0;
	if (spec->has_timeout && spec->timeout_ms > 0)
		timer_arm(&r->e->timers, &o->attempt->timer, r->e->now_ms + spec->timeout_ms);
}

static void start_read(const struct live_run *r, uint32_t op, struct batch_op *ret, struct buf *cwd)
{
	plan_op_decode(r->plan, op, ret);
	path_normal(cwd, slice_str(r->cwd), ret->cwd.p ? ret->cwd : slice_str("."));
}

int start_op(struct live_run *r, uint32_t op)
{
	_cleanup_buf_ struct buf cwd = BUF_INIT;
	struct batch_op spec;
	start_read(r, op, &spec, &cwd);
	start_attempt(r, op, &spec);
	claims_started(r);
	if (spec.kind == KIND_TODOS) {
		drive_todos_op(r, op, &spec);
		engine_op_started(r->e, token_make(r->id, op + 1, r->ops[op].attempts), 0,
				  time_wall_ms());
		return 0;
	}
	if (spec.kind != KIND_BASH && spec.kind != KIND_EXEC) {
		start_file(r, op, &spec, buf_str(&cwd));
		engine_op_started(r->e, token_make(r->id, op + 1, r->ops[op].attempts), 0,
				  time_wall_ms());
		return 0;
	}
	return start_command(r, token_make(r->id, op + 1, r->ops[op].attempts), 0, &spec,
			     buf_str(&cwd));
}

int start_after(struct live_run *r, uint32_t op, uint64_t after)
{
	_cleanup_buf_ struct buf cwd = BUF_INIT;
	struct batch_op spec;
	start_read(r, op, &spec, &cwd);
	return start_command(r, token_make(r->id, op + 1, 1), after, &spec, buf_str(&cwd));
}

void start_noted(struct live_run *r, uint32_t op)
{
	struct batch_op spec;
	plan_op_decode(r->plan, op, &spec);
	start_attempt(r, op, &spec);
	claims_started(r);
}
