#include "proto/batch.h"

#include <assert.h>
#include <stdlib.h>

#include "common/paths.h"
#include "proto/limits.h"
#include "proto/value.h"

/* All four: stored, never renumber. */
const char *const op_kind_names[] = { "bash", "exec", "write", "edit", "read", "todos", NULL };
const char *const on_failure_names[] = { "stop", "continue", "kill", NULL };
const char *const batch_order_names[] = { "parallel", "serial", "as-if-serial", NULL };
const char *const todos_mode_names[] = { "replace", "merge", NULL };

_Static_assert(ARRAY_SIZE(op_kind_names) == KIND_MAX + 1, "a name for each kind");

#define HEAD(m) offsetof(struct batch_head, m)
#define MESSAGE(m) offsetof(struct batch_message, m)
#define OP(m) offsetof(struct batch_op, m)
#define KIND(k) (1u << KIND_##k)
#define RUNS (KIND(BASH) | KIND(EXEC))
#define FILES (KIND(WRITE) | KIND(EDIT) | KIND(READ))

const struct field batch_head_fields[] = {
	{ "messages", FIELD_ARRAY, HEAD(messages), .required = true,
	  .doc = "what is done, in order" },
	{ "cwd", FIELD_ABSPATH, HEAD(cwd), .required = true,
	  .doc = "the folder all of it happens in" },
	{ "env_base", FIELD_ENV, HEAD(env_base), .doc = "base environment; absent: the daemon's" },
	{ "env", FIELD_ENV, HEAD(env), .doc = "added to the base; nil removes a name" },
	{ "name", FIELD_LABEL, HEAD(name), .doc = "a label to find the run by" },
	{ "key", FIELD_NAME, HEAD(key),
	  .doc = "the same key and batch again: the first run, nothing new" },
	{ "on_failure", FIELD_ENUM, HEAD(on_failure), .names = on_failure_names,
	  .doc = "after a failed op: stop, continue, kill" },
	{ "order", FIELD_ENUM, HEAD(order), .names = batch_order_names,
	  .doc = "ops of a message: parallel, serial, as-if-serial" },
	{ "group", FIELD_LABEL, HEAD(group), .doc = "the pool its slots come from" },
	{ "priority", FIELD_INT, HEAD(priority), .min = -LIMIT_PRIORITY, .max = LIMIT_PRIORITY,
	  .doc = "higher goes first" },
	{ "jobs", FIELD_INT, HEAD(jobs), HEAD(has_jobs), .min = 1, .max = LIMIT_JOBS,
	  .doc = "at most so many slots for this run" },
	{ "timeout", FIELD_DURATION, HEAD(timeout_ms), HEAD(has_timeout),
	  .doc = "for the whole run" },
	{ "needs_runs", FIELD_INTS, HEAD(needs_runs), .min = 1, .max = LIMIT_INT,
	  .doc = "start when these runs have succeeded" },
	{ "after_any_runs", FIELD_INTS, HEAD(after_any_runs), .min = 1, .max = LIMIT_INT,
	  .doc = "start when these runs have ended" },
	{ "held", FIELD_BOOL, HEAD(held), .doc = "paused until run.resume" },
	{ "not_before", FIELD_INT, HEAD(not_before), .min = 0, .max = LIMIT_INT,
	  .doc = "not started before this time" },
	{ "delay", FIELD_DURATION, HEAD(delay_ms),
	  .doc = "not started sooner than that after it was accepted" },
	{ "list", FIELD_NAME, HEAD(list), .max = LIMIT_PATH_BYTES,
	  .doc = "its todo list; default: the project's" },
	{ "output_cap", FIELD_INT, HEAD(output_cap), HEAD(has_output_cap), .min = 0,
	  .max = LIMIT_INT, .doc = "bytes of output kept of an op; 0: all" },
	{ "umask", FIELD_OCTAL, HEAD(umask), HEAD(has_umask), .max = 0777,
	  .doc = "octal digits; 022" },
	{ "meta", FIELD_META, HEAD(meta), .doc = "kept and given back" },
	FIELD_END,
};

const struct field batch_message_fields[] = {
	{ "name", FIELD_NAME, MESSAGE(name), .doc = "a title" },
	{ "ops", FIELD_ARRAY, MESSAGE(ops), .required = true, .doc = "what is done side by side" },
	{ "on_failure", FIELD_ENUM, MESSAGE(on_failure), .names = on_failure_names,
	  .doc = "as the batch's" },
	{ "order", FIELD_ENUM, MESSAGE(order), .names = batch_order_names,
	  .doc = "as the batch's" },
	{ "timeout", FIELD_DURATION, MESSAGE(timeout_ms), MESSAGE(has_timeout),
	  .doc = "for this message" },
	{ "always", FIELD_BOOL, MESSAGE(always),
	  .doc = "runs after failure, cancel and timeout too" },
	{ "halt", FIELD_UTF8, MESSAGE(halt), .max = 40,
	  .doc = "when to start nothing more: `soon,fail=3`; `now,` ends what runs; `success`, `done`" },
	{ "spacing", FIELD_DURATION, MESSAGE(spacing_ms),
	  .doc = "between the starts of two of its commands at least" },
	FIELD_END,
};

const struct field batch_op_fields[] = {
	{ "kind", FIELD_ENUM, OP(kind), .required = true, .names = op_kind_names,
	  .doc = "what it is" },
	{ "command", FIELD_CSTR, OP(command), .required = true, .kinds = KIND(BASH),
	  .doc = "as bash -c takes it" },
	{ "argv", FIELD_BYTESV, OP(argv), .required = true, .kinds = KIND(EXEC),
	  .doc = "a program and its arguments" },
	{ "path", FIELD_PATH, OP(path), .required = true, .kinds = FILES, .doc = "the file" },
	{ "content", FIELD_BYTES, OP(content), .required = true, .kinds = KIND(WRITE),
	  .doc = "what it will hold" },
	{ "id", FIELD_LABEL, OP(id), .doc = "names the op within its batch" },
	{ "needs", FIELD_NAMES, OP(needs), .doc = "ids: start when these have succeeded" },
	{ "after_any", FIELD_NAMES, OP(after_any), .doc = "ids: start when these have ended" },
	{ "cwd", FIELD_PATH, OP(cwd), .doc = "its folder, absolute or relative to the batch's" },
	{ "env", FIELD_ENV, OP(env), .doc = "added to the batch's; nil removes a name" },
	{ "timeout", FIELD_DURATION, OP(timeout_ms), OP(has_timeout),
	  .doc = "for each try; 0: none" },
	{ "retries", FIELD_INT, OP(retries), .min = 0, .max = LIMIT_RETRIES,
	  .doc = "extra tries after a failure" },
	{ "retry_delay", FIELD_DURATION, OP(retry_delay_ms),
	  .doc = "wait before each of them; 1 s" },
	{ "ok_exits", FIELD_INTS, OP(ok_exits), .min = 0, .max = 255,
	  .doc = "exit statuses that are successes; [0]" },
	{ "optional", FIELD_BOOL, OP(optional), .doc = "its failure does not fail the message" },
	{ "weight", FIELD_INT, OP(weight), .min = 1, .max = LIMIT_WEIGHT,
	  .doc = "slots it takes; 1" },
	{ "exclusive", FIELD_BOOL, OP(exclusive), .doc = "runs alone in its run" },
	{ "independent", FIELD_BOOL, OP(independent), .doc = "hint: touches nothing others touch" },
	{ "external", FIELD_BOOL, OP(external),
	  .doc = "hint: has effects outside the machine's files" },
	{ "reads", FIELD_BYTESV, OP(reads), .doc = "hint: paths it reads" },
	{ "writes", FIELD_BYTESV, OP(writes), .doc = "hint: paths it writes" },
	{ "detach", FIELD_BOOL, OP(detach), .doc = "leave children running when it has ended" },
	{ "output_cap", FIELD_INT, OP(output_cap), OP(has_output_cap), .min = 0, .max = LIMIT_INT,
	  .doc = "bytes of output kept; 0: all" },
	{ "todo", FIELD_NAME, OP(todo), .doc = "id of the todo item it drives" },
	{ "description", FIELD_UTF8, OP(description), .max = LIMIT_TODO_TEXT_BYTES,
	  .doc = "for people" },
	{ "meta", FIELD_META, OP(meta), .doc = "kept and given back" },
	{ "stdin", FIELD_RAW, OP(stdin_raw), OP(has_stdin), .kinds = RUNS,
	  .doc = "bytes, or {file: path}" },
	{ "shell", FIELD_PATH, OP(shell), .kinds = KIND(BASH), .doc = "another shell than bash" },
	{ "pty", FIELD_BOOL, OP(pty), .kinds = RUNS,
	  .doc = "a terminal instead of pipes, as large as COLUMNS and LINES say" },
	{ "background", FIELD_BOOL, OP(background), .kinds = RUNS,
	  .doc = "a service: others go on when it is ready; stopped when all else has ended" },
	{ "ready", FIELD_RAW, OP(ready_raw), OP(has_ready), .kinds = RUNS,
	  .doc = "when a service is: {port: N} or {match: text}, and timeout; absent: when it has started" },
	{ "mode", FIELD_OCTAL, OP(mode), .max = 07777, .kinds = KIND(WRITE),
	  .doc = "octal digits" },
	{ "create_only", FIELD_BOOL, OP(create_only), .kinds = KIND(WRITE),
	  .doc = "conflict where the file exists" },
	{ "expect", FIELD_UTF8, OP(expect), .kinds = KIND(WRITE),
	  .doc = "SHA-256 of what it replaces" },
	{ "append", FIELD_BOOL, OP(append), .kinds = KIND(WRITE), .doc = "add to the end" },
	{ "old", FIELD_BYTES, OP(old_text), .required = true, .kinds = KIND(EDIT),
	  .doc = "what is replaced" },
	{ "new", FIELD_BYTES, OP(new_text), .required = true, .kinds = KIND(EDIT),
	  .doc = "what comes instead" },
	{ "all", FIELD_BOOL, OP(all), .kinds = KIND(EDIT), .doc = "every occurrence" },
	{ "offset", FIELD_INT, OP(offset), .min = 0, .max = LIMIT_INT, .kinds = KIND(READ),
	  .doc = "from this byte" },
	{ "limit", FIELD_INT, OP(limit), .min = 0, .max = LIMIT_INT, .kinds = KIND(READ),
	  .doc = "at most so many" },
	{ "todos", FIELD_ARRAY, OP(todos), .required = true, .kinds = KIND(TODOS),
	  .doc = "the items" },
	{ "mode", FIELD_ENUM, OP(todos_mode), .names = todos_mode_names, .kinds = KIND(TODOS),
	  .doc = "replace or merge" },
	{ "list", FIELD_NAME, OP(list), .max = LIMIT_PATH_BYTES, .kinds = KIND(TODOS),
	  .doc = "another list than the batch's" },
	FIELD_END,
};

_Static_assert(ARRAY_SIZE(batch_head_fields) <= FIELD_MAX_PER_TABLE, "a bit for each field");
_Static_assert(ARRAY_SIZE(batch_op_fields) <= FIELD_MAX_PER_TABLE, "a bit for each field");

/* --- rules that no single field knows --- */

static int op_check_id(const struct batch_op *op, struct err *e)
{
	char text[VALUE_QUOTE_MAX];
	for (size_t i = 0; i < op->id.len; i++) {
		char c = op->id.p[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
		if (letter || (i > 0 && ((c >= '0' && c <= '9') || c == '-')))
			continue;
		return err_set(
			e, E_PARAMS,
			".id: '%s' must be letters, digits, '_' and '-', a letter or '_' first",
			value_quote(op->id, text));
	}
	return 0;
}

static int op_check_stdin(struct batch_op *op, struct err *e)
{
	static const struct field fields[] = {
		{ "file", FIELD_PATH, OP(stdin_file), .required = true },
		FIELD_END,
	};
	struct mp m = mp_of(op->stdin_raw);
	if (!op->has_stdin)
		return 0;
	struct mp_value v = mp_next(&m);
	if (v.type == MP_STR || v.type == MP_BIN) {
		op->stdin_bytes = v.bytes;
		return 0;
	}
	if (v.type != MP_MAP)
		return err_set(e, E_PARAMS, ".stdin: must be bytes or {file: path}, not %s",
			       mp_type_name(v.type));
	return field_decode(fields, op->stdin_raw, op, ".stdin", NULL, e);
}

static int ready_check(const struct batch_ready *ready, struct err *e)
{
	if (!ready->has_port == !ready->match.p)
		return err_set(e, E_PARAMS,
			       ".ready: must be {port: N} or {match: \"text\"}, one of the two");
	if (ready->match.p && (ready->match.len == 0 || ready->match.len > LIMIT_READY_MATCH_BYTES))
		return err_set(e, E_PARAMS, ".ready.match: must have 1 to %d bytes",
			       LIMIT_READY_MATCH_BYTES);
	return 0;
}

static int op_check_service(struct batch_op *op, struct err *e)
{
	static const struct field fields[] = {
		{ "port", FIELD_INT, OP(ready.port), OP(ready.has_port), .min = 1, .max = 65535 },
		{ "match", FIELD_BYTES, OP(ready.match) },
		{ "timeout", FIELD_DURATION, OP(ready.timeout_ms) },
		FIELD_END,
	};
	if (op->has_ready && !op->background)
		return err_set(e, E_PARAMS, ".ready: only a service has it: add background: true");
	if (op->background && op->exclusive)
		return err_set(
			e, E_PARAMS,
			": 'background' and 'exclusive' exclude each other: nothing could run "
			"beside it");
	if (!op->has_ready)
		return 0;
	if (field_decode(fields, op->ready_raw, op, ".ready", NULL, e))
		return 1;
	return ready_check(&op->ready, e);
}

static int op_check_env(const struct batch_op *op, struct err *e)
{
	if (op->env.len > LIMIT_OP_ENV_BYTES)
		return err_set(
			e, E_LIMIT,
			".env: longer than %u bytes: put what is common into the batch's env",
			LIMIT_OP_ENV_BYTES);
	return 0;
}

static int op_check_bash(struct batch_op *op, struct err *e)
{
	if (op->command.len >= LIMIT_STRING_BYTES)
		return err_set(e, E_LIMIT,
			       ".command: longer than the %d bytes that Linux takes: write it to a "
			       "file or give it as stdin",
			       LIMIT_STRING_BYTES - 1);
	return op_check_env(op, e) || op_check_stdin(op, e) || op_check_service(op, e);
}

static int op_check_exec(struct batch_op *op, struct err *e)
{
	uint32_t n;
	uint64_t total = 0;
	struct mp m = array_open(op->argv, &n);
	if (n == 0)
		return err_set(e, E_PARAMS, ".argv: must name a program");
	for (uint32_t i = 0; i < n; i++) {
		struct slice arg = mp_next(&m).bytes;
		if (i == 0 && arg.len == 0)
			return err_set(e, E_PARAMS, ".argv[0]: must not be empty");
		if (arg.len >= LIMIT_STRING_BYTES)
			return err_set(e, E_LIMIT,
				       ".argv[%u]: longer than the %d bytes that Linux takes", i,
				       LIMIT_STRING_BYTES - 1);
		total += arg.len + 1;
	}
	if (total > LIMIT_ARGV_BYTES)
		return err_set(e, E_LIMIT, ".argv: longer than %u bytes in all", LIMIT_ARGV_BYTES);
	return op_check_env(op, e) || op_check_stdin(op, e) || op_check_service(op, e);
}

static int op_check_write(struct batch_op *op, struct err *e)
{
	if (op->create_only && op->append)
		return err_set(e, E_PARAMS, ": 'create_only' and 'append' exclude each other");
	if (op->create_only && op->expect.p)
		return err_set(e, E_PARAMS, ": 'create_only' and 'expect' exclude each other");
	if (!op->expect.p)
		return 0;
	bool hex = op->expect.len == 64;
	for (size_t i = 0; hex && i < op->expect.len; i++)
		hex = (op->expect.p[i] >= '0' && op->expect.p[i] <= '9') ||
		      ((op->expect.p[i] | 0x20) >= 'a' && (op->expect.p[i] | 0x20) <= 'f');
	return hex ? 0
		   : err_set(e, E_PARAMS, ".expect: must be a SHA-256 as 64 hexadecimal digits");
}

static int op_check_edit(struct batch_op *op, struct err *e)
{
	if (op->old_text.len == 0)
		return err_set(e, E_PARAMS, ".old: must not be empty");
	if (slice_eq(op->old_text, op->new_text))
		return err_set(e, E_PARAMS, ".new: must differ from 'old'");
	return 0;
}

static int op_check_nothing(struct batch_op *op _unused_, struct err *e _unused_)
{
	return 0;
}

static int (*const op_checks[])(struct batch_op *op, struct err *e) = {
	[KIND_BASH] = op_check_bash,	[KIND_EXEC] = op_check_exec,
	[KIND_WRITE] = op_check_write,	[KIND_EDIT] = op_check_edit,
	[KIND_READ] = op_check_nothing, [KIND_TODOS] = op_check_nothing,
};

_Static_assert(ARRAY_SIZE(op_checks) == KIND_MAX, "a check for each kind");

/* --- decoding --- */

/* The kind says which rows of the table hold. With none that is usable, the table itself says what
 * is wrong. */
static void op_kind(struct slice op, struct field_opts *opts)
{
	static const uint32_t just_common = 1u << KIND_MAX;
	struct slice name = mp_get_str(op, "kind");
	*opts = (struct field_opts){ .kinds = just_common, .kind_name = "?" };
	for (int k = 0; k < KIND_MAX; k++)
		if (name.p && slice_is(name, op_kind_names[k]))
			*opts = (struct field_opts){ .kinds = 1u << k,
						     .kind_name = op_kind_names[k] };
}

/* Is `kind` itself what is wrong? Then that is said, not that its keys are out of place. */
static int op_kind_check(struct slice op, struct err *e)
{
	struct slice raw = mp_find(op, "kind");
	struct batch_op unused;
	struct mp m;
	uint32_t n;
	if (value_open_map(op, &m, &n, e))
		return 1;
	if (!raw.p)
		return err_set(
			e, E_PARAMS,
			".kind: required: one of 'bash', 'exec', 'write', 'edit', 'read', 'todos'");
	if (field_value(&batch_op_fields[0], raw, &unused, e))
		return err_prefix(e, ".kind");
	return 0;
}

int batch_op_decode(struct slice raw, const char *path, struct batch_op *ret, struct err *e)
{
	struct field_opts opts;
	struct batch_op op = {
		.retry_delay_ms = DEFAULT_RETRY_DELAY_MS, .weight = 1, .mode = -1, .limit = -1
	};
	op_kind(raw, &opts);
	if (opts.kinds >> KIND_MAX && op_kind_check(raw, e))
		return value_at(e, path, NULL);
	if (field_decode_with(batch_op_fields, raw, &op, path, &opts, NULL, e))
		return 1;
	if (op_check_id(&op, e) || op_checks[op.kind](&op, e))
		return value_at(e, path, NULL);
	if (op.ok_exits.p && array_count(op.ok_exits) == 0) {
		err_set(e, E_PARAMS, ".ok_exits: must not be empty");
		return value_at(e, path, NULL);
	}
	*ret = op;
	return 0;
}

/* --- small services --- */

void batch_op_cwd(const struct batch_head *head, const struct batch_op *op, struct buf *b)
{
	path_normal(b, head->cwd, op->cwd);
}

void batch_op_path(const struct batch_head *head, const struct batch_op *op, struct buf *b)
{
	_cleanup_buf_ struct buf cwd = BUF_INIT;
	batch_op_cwd(head, op, &cwd);
	path_normal(b, buf_slice(&cwd), op->path);
}

bool batch_op_exit_ok(const struct batch_op *op, int exit)
{
	uint32_t n;
	struct mp m = array_open(op->ok_exits, &n);
	if (n == 0)
		return exit == 0;
	for (; n > 0; n--) {
		struct mp_value v = mp_next(&m);
		if (v.type == MP_FLOAT ? v.f == exit : v.i == exit)
			return true;
	}
	return false;
}

uint32_t batch_strv(struct slice array, struct buf *b)
{
	uint32_t n;
	struct mp m = array_open(array, &n);
	for (uint32_t i = 0; i < n; i++) {
		buf_addslice(b, mp_next(&m).bytes);
		buf_addc(b, '\0');
	}
	return n;
}
