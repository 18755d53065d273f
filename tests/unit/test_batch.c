/* The batch: what is refused and in which words, the plan, and the forms made of it. */
#include <check.h>

#include "common/timeutil.h"
#include "proto/batch.h"
#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/scan.h"
#include "tests/unit/mp_text.h"

/* A batch in /w from the text of its messages, or, where it begins with '{', a whole one. */
static struct slice batch_text(struct buf *b, const char *text)
{
	_cleanup_buf_ struct buf whole = BUF_INIT;
	buf_clear(b);
	if (*text == '{')
		buf_adds(&whole, text);
	else
		buf_addf(&whole, "{'cwd': '/w', 'messages': %s}", text);
	return mp_text(b, buf_str(&whole));
}

#define BASH "{'kind': 'bash', 'command': 'true'}"
#define OPS(ops) "[{'ops': [" ops "]}]"
#define SERIAL(ops) "[{'order': 'serial', 'ops': [" ops "]}]"
#define WRITE(rest) "{'kind': 'write', 'content': 'x', " rest "}"
#define TWO(rest)                                                                                  \
	OPS("{'kind': 'bash', 'command': 'true', 'id': 'a'}, {'kind': 'bash', 'command': "         \
	    "'true', " rest "}")

static const struct {
	const char *text, *error;
	int sym;
} rows[] = {
	{ OPS(BASH), NULL, 0 },
	{ "{'cwd': '/w'}", "messages: required", E_PARAMS },
	{ "{'messages': [{'ops': [" BASH "]}]}", "cwd: required", E_PARAMS },
	{ "{'cwd': 'w', 'messages': []}", "cwd: must be absolute", E_PARAMS },
	{ "[]", "messages: a batch needs a message with an op", E_PARAMS },
	{ "[{'ops': []}]", "messages[0].ops: a message needs an op", E_PARAMS },
	{ "[{'ops': [" BASH "]}, {}]", "messages[1].ops: required", E_PARAMS },
	{ "[7]", "messages[0]: must be a map, not int", E_PARAMS },
	{ "{'cwd': '/w', 'messages': [{'ops': [" BASH "]}], 'on_failure': 'panic'}",
	  "on_failure: 'panic' is unknown: must be one of 'stop', 'continue', 'kill'", E_PARAMS },
	{ "{'cwd': '/w', 'messages': [{'ops': [" BASH "]}], 'ordr': 'serial'}",
	  "ordr: unknown key (did you mean 'order'?)", E_PARAMS },
	{ "{'cwd': '/w', 'ops': [" BASH "]}", "ops: unknown key (did you mean 'messages'?)",
	  E_PARAMS },
	{ "[" BASH "]", "messages[0].kind: unknown key (did you mean 'ops'?)", E_PARAMS },
	{ "{'cwd': '/w', 'messages': [{'ops': [" BASH "]}], 'name': '17'}",
	  "name: '17' must not be a number", E_PARAMS },
	{ "{'cwd': '/w', 'messages': [{'ops': [" BASH "]}], 'jobs': 0}",
	  "jobs: must be 1 to 65535, not 0", E_PARAMS },
	{ "{'cwd': '/w', 'messages': [{'ops': [" BASH "]}], 'umask': '1777'}",
	  "umask: '1777' must be octal digits up to 777", E_PARAMS },
	{ "{'cwd': '/w', 'messages': [{'ops': [" BASH "]}], 'needs_runs': [0]}",
	  "needs_runs[0]: must be at least 1, not 0", E_PARAMS },
	{ "{'cwd': '/w', 'messages': [{'ops': [" BASH
	  "]}], 'order': 'as-if-serial', 'group': 'g', 'priority': -5, 'held': true,"
	  " 'key': 'k', 'output_cap': 0, 'umask': '077', 'meta': {}, 'list': 'l', 'not_before': "
	  "1.0, 'timeout': '90s'}",
	  NULL, 0 },
	/* ops */
	{ OPS("7"), "messages[0].ops[0]: must be a map, not int", E_PARAMS },
	{ OPS("{}"),
	  "messages[0].ops[0].kind: required: one of 'bash', 'exec', 'write', 'edit', 'read', "
	  "'todos'",
	  E_PARAMS },
	{ OPS("[]"),
	  "messages[0].ops[0].kind: required: one of 'bash', 'exec', 'write', 'edit', 'read', "
	  "'todos'",
	  E_PARAMS },
	{ OPS("{'kind': 'Bash'}"),
	  "messages[0].ops[0].kind: 'Bash' is unknown: must be one of 'bash', 'exec', 'write', "
	  "'edit', 'read', 'todos'",
	  E_PARAMS },
	{ OPS("{'kind': 1}"), "messages[0].ops[0].kind: must be a str, not int", E_PARAMS },
	{ OPS("{'kind': 'bash'}"), "messages[0].ops[0].command: required", E_PARAMS },
	{ OPS(BASH ", " BASH ", {'kind': 'bash', 'comand': 'x'}"),
	  "messages[0].ops[2].comand: unknown key (did you mean 'command'?)", E_PARAMS },
	{ OPS("{'kind': 'bash', 'cmd': 'x'}"),
	  "messages[0].ops[0].cmd: unknown key (did you mean 'command'?)", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'depends_on': ['y']}"),
	  "messages[0].ops[0].depends_on: unknown key (did you mean 'needs'?)", E_PARAMS },
	{ OPS("{'kind': 'write', 'file_path': 'x', 'content': ''}"),
	  "messages[0].ops[0].file_path: unknown key (did you mean 'path'?)", E_PARAMS },
	{ "[{'ops': [" BASH "]}, {'ops': [" BASH
	  "]}, {'ops': [{'kind': 'bash', 'command': 'x', 'cwd': 7}]}]",
	  "messages[2].ops[0].cwd: must be a str, not int", E_PARAMS },
	{ OPS(BASH ", {'kind': 'bash', 'command': 'x', 'argv': ['y']}"),
	  "messages[0].ops[1].argv: not a key of kind 'bash'", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'command': 'y'}"),
	  "messages[0].ops[0].command: given twice", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': ''}"), NULL, 0 },
	{ OPS("{'kind': 'bash', 'command': 'a\\x00b'}"),
	  "messages[0].ops[0].command: must not hold a NUL byte", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': b'\\xff', 'stdin': b'\\x00\\xff'}"), NULL, 0 },
	{ OPS("{'kind': 'bash', 'command': 'x', 'stdin': {'file': 'in'}}"), NULL, 0 },
	{ OPS("{'kind': 'bash', 'command': 'x', 'stdin': {'fiel': 'in'}}"),
	  "messages[0].ops[0].stdin.fiel: unknown key (did you mean 'file'?)", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'stdin': 7}"),
	  "messages[0].ops[0].stdin: must be bytes or {file: path}, not int", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'id': '1a'}"),
	  "messages[0].ops[0].id: '1a' must be letters, digits, '_' and '-', a letter or '_' first",
	  E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'id': 'all'}"),
	  "messages[0].ops[0].id: 'all' has a meaning of its own: choose another", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'retries': -1}"),
	  "messages[0].ops[0].retries: must be 0 to 4000, not -1", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'weight': 0}"),
	  "messages[0].ops[0].weight: must be 1 to 65535, not 0", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'ok_exits': []}"),
	  "messages[0].ops[0].ok_exits: must not be empty", E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'ok_exits': [256]}"),
	  "messages[0].ops[0].ok_exits[0]: must be 0 to 255, not 256", E_PARAMS },
	{ OPS("{'kind': 'exec', 'argv': []}"), "messages[0].ops[0].argv: must name a program",
	  E_PARAMS },
	{ OPS("{'kind': 'exec', 'argv': ['']}"), "messages[0].ops[0].argv[0]: must not be empty",
	  E_PARAMS },
	{ OPS("{'kind': 'exec', 'argv': ['x', '']}"), NULL, 0 },
	{ OPS("{'kind': 'write', 'path': 'x'}"), "messages[0].ops[0].content: required", E_PARAMS },
	{ OPS(WRITE("'path': ''")), "messages[0].ops[0].path: must not be empty", E_PARAMS },
	{ OPS(WRITE("'path': 'x', 'mode': '10000'")),
	  "messages[0].ops[0].mode: '10000' must be octal digits up to 7777", E_PARAMS },
	{ OPS(WRITE("'path': 'x', 'mode': 'merge'")),
	  "messages[0].ops[0].mode: 'merge' must be octal digits up to 7777", E_PARAMS },
	{ OPS(WRITE("'path': 'x', 'expect': 'abc'")),
	  "messages[0].ops[0].expect: must be a SHA-256 as 64 hexadecimal digits", E_PARAMS },
	{ OPS(WRITE("'path': 'x', 'create_only': true, 'append': true")),
	  "messages[0].ops[0]: 'create_only' and 'append' exclude each other", E_PARAMS },
	{ OPS("{'kind': 'edit', 'path': 'x', 'old': '', 'new': 'y'}"),
	  "messages[0].ops[0].old: must not be empty", E_PARAMS },
	{ OPS("{'kind': 'edit', 'path': 'x', 'old': 'y', 'new': 'y'}"),
	  "messages[0].ops[0].new: must differ from 'old'", E_PARAMS },
	{ OPS("{'kind': 'edit', 'path': 'x', 'old': 'y', 'new': ''}"), NULL, 0 },
	{ OPS("{'kind': 'read', 'path': 'x', 'offset': -1}"),
	  "messages[0].ops[0].offset: must be at least 0, not -1", E_PARAMS },
	{ OPS("{'kind': 'todos', 'todos': [{'content': 'c', 'status': 'done'}]}"),
	  "messages[0].ops[0].todos[0].status: 'done' is unknown: must be one of 'pending', "
	  "'in_progress', 'completed', 'cancelled'",
	  E_PARAMS },
	{ OPS("{'kind': 'todos', 'mode': 'merge', 'todos': [{'id': 'a'}, {'content': 'c', 'x': 1}, "
	      "{'id': 'a'}]}"),
	  "messages[0].ops[0].todos[2].id: 'a' is also that of todos[0]", E_PARAMS },
	{ OPS("{'kind': 'todos', 'todos': [{'status': 'pending'}]}"),
	  "messages[0].ops[0].todos[0]: an item needs 'content', or the 'id' of one that is there",
	  E_PARAMS },
	/* ids and needs */
	{ TWO("'id': 'a'"), "messages[0].ops[1].id: 'a' is also the id of messages[0].ops[0]",
	  E_PARAMS },
	{ TWO("'id': 'b', 'needs': ['a'], 'after_any': ['a']"), NULL, 0 },
	{ TWO("'id': 'b', 'needs': ['c']"),
	  "messages[0].ops[1].needs[0]: no op has the id 'c' (did you mean 'a'?)", E_PARAMS },
	{ TWO("'id': 'build', 'needs': ['a', 'biuld']"),
	  "messages[0].ops[1].needs[1]: no op has the id 'biuld' (did you mean 'build'?)",
	  E_PARAMS },
	{ TWO("'id': 'b', 'after_any': ['b']"),
	  "messages[0].ops[1].after_any[0]: 'b' is the op itself", E_PARAMS },
	{ "[{'ops': [{'kind': 'bash', 'command': 'x', 'needs': ['l']}]}, {'ops': [{'kind': 'bash', "
	  "'command': 'x', 'id': 'l'}]}]",
	  "messages[0].ops[0].needs[0]: 'l' is in a later message, which starts when this one is "
	  "over",
	  E_PARAMS },
	{ "[{'ops': [{'kind': 'bash', 'command': 'x', 'id': 'l'}]}, {'ops': [{'kind': 'bash', "
	  "'command': 'x', 'needs': ['l']}]}]",
	  NULL, 0 },
	{ OPS("{'kind': 'bash', 'command': 'x', 'id': 'a', 'needs': ['b']}, {'kind': 'bash', "
	      "'command': 'x', 'id': 'b'}"),
	  NULL, 0 },
	{ SERIAL("{'kind': 'bash', 'command': 'x', 'id': 'a', 'needs': ['b']}, {'kind': 'bash', "
		 "'command': 'x', 'id': 'b'}"),
	  "messages[0].ops[0].needs[0]: 'b' comes later in a message whose order is 'serial'",
	  E_PARAMS },
	{ OPS("{'kind': 'bash', 'command': 'x', 'id': 'a', 'needs': ['b']},"
	      "{'kind': 'bash', 'command': 'x', 'id': 'b', 'after_any': ['c']},"
	      "{'kind': 'bash', 'command': 'x', 'id': 'c', 'needs': ['a']}"),
	  "messages[0].ops[0]: a cycle: 'a' needs 'b' needs 'c' needs 'a'", E_PARAMS },
	/* file conflicts */
	{ OPS(WRITE("'path': 'x'") ", " WRITE("'path': './y/../x'")),
	  "messages[0].ops[1].path: '/w/x' is changed by messages[0].ops[0] of the same message: "
	  "let one need the other, or put them "
	  "into two messages",
	  E_CONFLICT },
	{ OPS(WRITE("'path': '/d/x'") ", {'kind': 'edit', 'cwd': '../d', 'path': 'x', 'old': 'a', "
				      "'new': 'b'}"),
	  "messages[0].ops[1].path: '/d/x' is changed by messages[0].ops[0] of the same message: "
	  "let one need the other, or put them "
	  "into two messages",
	  E_CONFLICT },
	{ OPS(WRITE("'path': 'd/e/x'") ", " WRITE("'path': 'd-'") ", " WRITE("'path': 'd'")),
	  "messages[0].ops[2].path: '/w/d' is a folder of the file changed by messages[0].ops[0] "
	  "of the same message: let one need "
	  "the other, or put them into two messages",
	  E_CONFLICT },
	{ OPS(WRITE("'path': 'd'") ", " WRITE("'path': 'd/e/x'")),
	  "messages[0].ops[1].path: '/w/d/e/x' is below the file changed by messages[0].ops[0] of "
	  "the same message: let one need "
	  "the other, or put them into two messages",
	  E_CONFLICT },
	{ OPS(WRITE("'path': 'd'") ", " WRITE("'path': 'd-x'") ", " WRITE(
		  "'path': 'dd'") ", {'kind': 'read', 'path': 'd'}"),
	  NULL, 0 },
	{ OPS(WRITE("'path': 'x', 'id': 'a'") ", " WRITE("'path': 'x', 'needs': ['a']")), NULL, 0 },
	{ OPS(WRITE("'path': 'x', 'after_any': ['a']") ", " WRITE("'path': 'x', 'id': 'a'")), NULL,
	  0 },
	{ OPS(WRITE("'path': 'x', 'id': 'a'") ", {'kind': 'bash', 'command': 'x', 'id': 'b', "
					      "'needs': ['a']}, " WRITE(
						      "'path': 'x', 'needs': ['b']")),
	  NULL, 0 },
	{ OPS(WRITE("'path': 'x', 'id': 'a'") ", " WRITE(
		  "'path': 'x', 'id': 'b', 'needs': ['a']") ", " WRITE("'path': 'x', 'needs': "
								       "['a']")),
	  "messages[0].ops[2].path: '/w/x' is changed by messages[0].ops[1] of the same message: "
	  "let one need the other, or put them "
	  "into two messages",
	  E_CONFLICT },
	{ SERIAL(WRITE("'path': 'x'") ", " WRITE("'path': 'x'")), NULL, 0 },
	{ "[{'ops': [" WRITE("'path': 'x'") "]}, {'ops': [" WRITE("'path': 'x'") "]}]", NULL, 0 },
	/* a folder between the ops of a chain: every pair counts */
	{ OPS(WRITE("'path': 'd/x', 'id': 'a'") ", " WRITE(
		  "'path': 'd/x', 'id': 'b', 'needs': ['a']") ", " WRITE("'path': 'd', 'needs': "
									 "['a']")),
	  "messages[0].ops[2].path: '/w/d' is a folder of the file changed by messages[0].ops[1] "
	  "of the same message: let one need "
	  "the other, or put them into two messages",
	  E_CONFLICT },
};

START_TEST(test_rows)
{
	struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	struct plan *p = NULL;
	int r = plan_make(batch_text(&b, rows[_i].text), &p, &e);
	if (!rows[_i].error) {
		ck_assert_msg(r == 0, "%s: %s", rows[_i].text, e.text);
	} else {
		ck_assert_msg(r == 1, "%s was accepted", rows[_i].text);
		ck_assert_str_eq(e.text, rows[_i].error);
		ck_assert_int_eq(e.sym, rows[_i].sym);
	}
	plan_free(p);
	buf_done(&b);
}
END_TEST

static struct plan *plan_of(struct buf *b, const char *text)
{
	struct err e = ERR_INIT;
	struct plan *p = NULL;
	if (plan_make(batch_text(b, text), &p, &e))
		ck_abort_msg("%s: %s", text, e.text);
	return p;
}

START_TEST(test_plan)
{
	struct buf b = BUF_INIT;
	struct batch_op op;
	struct plan *p = plan_of(
		&b,
		"{'cwd': '/w', 'on_failure': 'kill', 'order': 'serial', 'timeout': 2, 'messages': ["
		"{'name': 'one', 'ops': [" BASH
		", {'kind': 'exec', 'argv': ['a'], 'id': 'x', 'weight': 3, 'detach': true}]},"
		"{'order': 'parallel', 'on_failure': 'stop', 'always': true, 'timeout': '1m', "
		"'ops': ["
		"{'kind': 'read', 'path': 'r', 'limit': 5, 'needs': ['y', 'x', 'y'], 'after_any': "
		"['x', 'z'], 'todo': 't'},"
		"{'kind': 'bash', 'command': 'y', 'id': 'y', 'optional': true, 'exclusive': true},"
		"{'kind': 'bash', 'command': 'z', 'id': 'z', 'stdin': {'file': 'f'}, 'retries': 2, "
		"'ok_exits': [0, 3.0]}]}]}");
	ck_assert_uint_eq(p->n_messages, 2);
	ck_assert_uint_eq(p->n_ops, 5);
	ck_assert_int_eq(p->messages[0].m.order, ORDER_SERIAL);
	ck_assert_int_eq(p->messages[0].m.on_failure, FAIL_KILL);
	ck_assert_int_eq(p->messages[1].m.order, ORDER_PARALLEL);
	ck_assert_int_eq(p->messages[1].m.on_failure, FAIL_STOP);
	ck_assert_int_eq(p->messages[1].m.timeout_ms, 60000);
	ck_assert(p->messages[1].m.always && p->messages[1].m.has_timeout &&
		  !p->messages[0].m.has_timeout);
	ck_assert_uint_eq(p->messages[1].first, 2);
	ck_assert_uint_eq(p->messages[1].count, 3);
	ck_assert(p->head.has_timeout && p->head.timeout_ms == 2000);
	ck_assert(!p->head.has_output_cap && p->head.output_cap == DEFAULT_OUTPUT_CAP &&
		  p->head.umask == 022);
	ck_assert_uint_eq(p->ops[1].weight, 3);
	ck_assert(p->ops[1].detach && !p->ops[0].detach);
	ck_assert(p->ops[3].optional && p->ops[3].exclusive && p->ops[2].has_todo);
	ck_assert_uint_eq(plan_find(p, slice_str("z")), 4);
	ck_assert_uint_eq(plan_find(p, slice_str("zz")), UINT32_MAX);
	ck_assert(slice_is(plan_op_id(p, 1), "x"));
	ck_assert_ptr_null(plan_op_id(p, 0).p);
	/* each dependency once; needs wins over after_any */
	ck_assert_uint_eq(p->n_deps, 3);
	ck_assert_uint_eq(p->ops[2].ndeps, 3);
	const struct plan_dep *d = p->deps + p->ops[2].dep;
	ck_assert(d[0].op == 1 && !d[0].any && d[1].op == 3 && !d[1].any && d[2].op == 4 &&
		  d[2].any);
	plan_op_decode(p, 4, &op);
	ck_assert(slice_is(op.command, "z") && slice_is(op.stdin_file, "f") && op.has_stdin);
	ck_assert_int_eq(op.retries, 2);
	ck_assert_int_eq(op.retry_delay_ms, DEFAULT_RETRY_DELAY_MS);
	ck_assert(batch_op_exit_ok(&op, 3) && batch_op_exit_ok(&op, 0) &&
		  !batch_op_exit_ok(&op, 1));
	plan_op_decode(p, 2, &op);
	ck_assert(op.limit == 5 && op.offset == 0 && op.mode == -1 && batch_op_exit_ok(&op, 0) &&
		  !batch_op_exit_ok(&op, 3));
	ck_assert_uint_le(sizeof(struct plan_op), 48);
	plan_free(p);
	buf_done(&b);
}
END_TEST

static const struct {
	const char *op, *want;
} texts[] = {
	{ "{'kind': 'bash', 'command': 'echo \\xc3\\xa4\\nls'}", "echo \xc3\xa4\\nls" },
	{ "{'kind': 'bash', 'command': b'\\xff'}", "\\xff" },
	{ "{'kind': 'exec', 'argv': ['ls', '-l', 'a b', 'it\\'s', '', 'x=1']}",
	  "ls -l 'a b' 'it'\\''s' '' x=1" },
	{ "{'kind': 'write', 'path': 'a/b', 'content': ''}", "a/b" },
	{ "{'kind': 'todos', 'todos': []}", "0 todos" },
	{ "{'kind': 'todos', 'todos': [{'content': 'x'}]}", "1 todo" },
};

START_TEST(test_text)
{
	struct buf b = BUF_INIT, text = BUF_INIT;
	struct batch_op op;
	struct err e;
	ck_assert_int_eq(batch_op_decode(mp_text(&b, texts[_i].op), "", &op, &e), 0);
	batch_op_text(&op, &text);
	ck_assert_str_eq(buf_str(&text), texts[_i].want);
	buf_done(&b);
	buf_done(&text);
}
END_TEST

/* 200 characters, not bytes, and never a half one. */
START_TEST(test_text_cut)
{
	for (int n = 199; n <= 500; n += n == 199 ? 1 : 300) {
		struct buf command = BUF_INIT, text = BUF_INIT;
		for (int i = 0; i < n; i++)
			buf_adds(&command, "\xe2\x82\xac");
		struct batch_op op = { .kind = KIND_BASH, .command = buf_slice(&command) };
		batch_op_text(&op, &text);
		if (n <= 200) {
			ck_assert_uint_eq(text.len, 3 * (size_t)n);
		} else {
			ck_assert_uint_eq(text.len, 600);
			ck_assert_int_eq(memcmp(text.p + 597, "\xe2\x80\xa6", 3), 0);
		}
		buf_done(&command);
		buf_done(&text);
	}
}
END_TEST

START_TEST(test_paths)
{
	struct buf b = BUF_INIT;
	struct batch_head head = { .cwd = slice_str("/w/x") };
	struct batch_op op = { .cwd = slice_str("../d"), .path = slice_str("./a//b/") };
	batch_op_cwd(&head, &op, &b);
	ck_assert_str_eq(buf_str(&b), "/w/d");
	buf_clear(&b);
	batch_op_path(&head, &op, &b);
	ck_assert_str_eq(buf_str(&b), "/w/d/a/b");
	buf_clear(&b);
	op.cwd = SLICE_NONE;
	batch_op_path(&head, &op, &b);
	ck_assert_str_eq(buf_str(&b), "/w/x/a/b");
	buf_clear(&b);
	struct buf argv = BUF_INIT;
	ck_assert_uint_eq(batch_strv(mp_text(&argv, "['a', b'', 'b c']"), &b), 3);
	ck_assert_uint_eq(b.len, 7);
	ck_assert_int_eq(memcmp(b.p, "a\0\0b c", 7), 0);
	ck_assert_uint_eq(batch_strv(SLICE_NONE, &b), 0);
	buf_done(&argv);
	buf_done(&b);
}
END_TEST

START_TEST(test_strip)
{
	struct buf b = BUF_INIT, want = BUF_INIT, got = BUF_INIT;
	batch_text(&b, "{'cwd': '/w', 'env_base': {'A': 'b'}, 'name': nil, 'env': {'X': nil}, "
		       "'meta': {'k': nil},"
		       "'messages': [{'name': nil, 'ops': [{'kind': 'bash', 'command': 'x', 'id': "
		       "nil, 'ok_exits': [0, 1]}]}]}");
	batch_text(
		&want,
		"{'cwd': '/w', 'env': {'X': nil}, 'meta': {'k': nil},"
		"'messages': [{'ops': [{'kind': 'bash', 'command': 'x', 'ok_exits': [0, 1]}]}]}");
	batch_strip(buf_slice(&b), &got);
	ck_assert_uint_eq(got.len, want.len);
	ck_assert_int_eq(memcmp(got.p, want.p, got.len), 0);
	buf_done(&b);
	buf_done(&want);
	buf_done(&got);
}
END_TEST

#define SAME                                                                                       \
	"{'cwd': '/w', 'messages': [{'ops': [{'kind': 'bash', 'command': 'x', 'timeout': 5}]}]}"
static const struct {
	const char *a, *b;
	bool same;
} digests[] = {
	{ SAME, SAME, true },
	{ SAME,
	  "{'messages': [{'ops': [{'timeout': 5.0, 'command': b'x', 'id': nil, 'kind': 'bash'}]}], "
	  "'env_base': {'A': 'x'}, 'cwd': '/w'}",
	  true },
	{ SAME,
	  "{'cwd': '/w', 'messages': [{'ops': [{'kind': 'bash', 'command': 'y', 'timeout': 5}]}]}",
	  false },
	{ SAME,
	  "{'cwd': '/w', 'messages': [{'ops': [{'kind': 'bash', 'command': 'x', 'timeout': "
	  "5.5}]}]}",
	  false },
	{ SAME,
	  "{'cwd': '/w', 'env': {'A': nil}, 'messages': [{'ops': [{'kind': 'bash', 'command': 'x', "
	  "'timeout': 5}]}]}",
	  false },
	{ "{'env': {'A': nil}}", "{'env': {'B': nil}}", false },
	{ "{'meta': []}", "{'meta': {}}", true },
	{ "{'a': ['x', 'y']}", "{'a': ['y', 'x']}", false },
	{ "{'a': ['xy']}", "{'a': ['x', 'y']}", false },
	{ "{'a': 'env_base', 'meta': {'env_base': 1}}", "{'a': 'env_base', 'meta': {}}", false },
	{ "{'a': true}", "{'a': 1}", false },
	{ "{'a': -1}", "{'a': 1}", false },
	{ "{'a': 300}", "{'a': 300.0}", true },
};

START_TEST(test_digest)
{
	struct buf a = BUF_INIT, b = BUF_INIT;
	uint8_t da[32], db[32];
	batch_digest(mp_text(&a, digests[_i].a), da);
	batch_digest(mp_text(&b, digests[_i].b), db);
	ck_assert_int_eq(memcmp(da, db, 32) == 0, digests[_i].same);
	buf_done(&a);
	buf_done(&b);
}
END_TEST

/* Stored with each run that has a key: it must never change. */
START_TEST(test_digest_stays)
{
	struct buf b = BUF_INIT, hex = BUF_INIT;
	uint8_t d[32];
	batch_digest(mp_text(&b, SAME), d);
	for (int i = 0; i < 32; i++)
		buf_addf(&hex, "%02x", d[i]);
	ck_assert_str_eq(buf_str(&hex),
			 "20bc901b85d716e2270b92692ef9480d2d19333ccaec9c21baf10c4d18bcd115");
	buf_done(&b);
	buf_done(&hex);
}
END_TEST

static const struct {
	const char *head, *want; /* want: with ';' for the NULs */
} envs[] = {
	{ "{}", "HOME=/h;PATH=/bin;" },
	{ "{'env': {'PATH': nil, 'Z': 'z', 'BATCHD_X': 'mine'}}", "BATCHD_X=mine;HOME=/h;Z=z;" },
	{ "{'env_base': {'B': '2', 'A': '', 'BATCHD_RUN': '3', 'NOTIFY_SOCKET': 's', "
	  "'LISTEN_PORT': '80'}, 'env': {'B': b'\\xff'}}",
	  "A=;B=\xff;LISTEN_PORT=80;" },
	{ "{'env_base': {}}", "" },
};

START_TEST(test_env)
{
	static const char *const dflt[] = { "PATH=/bin", "LISTEN_FDS=1", "WATCHDOG_USEC=5",
					    "HOME=/h",	 "PATH=/other",	 "odd",
					    NULL };
	struct buf b = BUF_INIT, got = BUF_INIT;
	struct slice map = mp_text(&b, envs[_i].head);
	struct batch_head head = { .env = mp_find(map, "env"),
				   .env_base = mp_find(map, "env_base") };
	batch_env(&head, (char *const *)dflt, &got);
	for (size_t i = 0; i < got.len; i++)
		if (got.p[i] == '\0')
			got.p[i] = ';';
	ck_assert_str_eq(buf_str(&got), envs[_i].want);
	buf_done(&b);
	buf_done(&got);
}
END_TEST

START_TEST(test_sizes)
{
	struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	static char big[LIMIT_STRING_BYTES];
	struct batch_op op;
	struct err e;
	memset(big, 'x', sizeof(big));
	for (size_t len = LIMIT_STRING_BYTES - 1; len <= LIMIT_STRING_BYTES; len++) {
		buf_clear(&b);
		pk_map(&pk);
		pk_kstr(&pk, "kind", slice_str("bash"));
		pk_kstr(&pk, "command", slice_of(big, len));
		pk_end(&pk);
		ck_assert_int_eq(batch_op_decode(buf_slice(&b), "", &op, &e),
				 len == LIMIT_STRING_BYTES);
		buf_clear(&b);
		pk_map(&pk);
		pk_kstr(&pk, "kind", slice_str("exec"));
		pk_key(&pk, "argv");
		pk_array(&pk);
		pk_str(&pk, slice_str("x"));
		pk_str(&pk, slice_of(big, len));
		pk_end(&pk);
		pk_end(&pk);
		ck_assert_int_eq(batch_op_decode(buf_slice(&b), "", &op, &e),
				 len == LIMIT_STRING_BYTES);
		if (len == LIMIT_STRING_BYTES)
			ck_assert_int_eq(e.sym, E_LIMIT);
	}
	buf_done(&b);
}
END_TEST

/* A message of n ops: each needs the one before, or writes a file. */
static void big_batch(struct buf *b, uint32_t n, bool files)
{
	struct pk pk = PK_INIT(b);
	char text[64];
	pk_map(&pk);
	pk_kstr(&pk, "cwd", slice_str("/work"));
	pk_key(&pk, "messages");
	pk_array(&pk);
	pk_map(&pk);
	pk_key(&pk, "ops");
	pk_array(&pk);
	for (uint32_t i = 0; i < n; i++) {
		pk_map(&pk);
		pk_kstr(&pk, "kind", slice_str(files ? "write" : "bash"));
		snprintf(text, sizeof(text), "%s%u", files ? "dir/file-" : "echo ", i);
		pk_kstr(&pk, files ? "path" : "command", slice_str(text));
		if (files)
			pk_kstr(&pk, "content", slice_str("x"));
		snprintf(text, sizeof(text), "op%u", i);
		pk_kstr(&pk, "id", slice_str(text));
		if (i + 1 < n && !files) {
			snprintf(text, sizeof(text), "op%u",
				 i + 1); /* forwards: the hard way for the search for cycles */
			pk_key(&pk, "needs");
			pk_array(&pk);
			pk_str(&pk, slice_str(text));
			pk_end(&pk);
		}
		pk_end(&pk);
	}
	for (int i = 0; i < 4; i++)
		pk_end(&pk);
}

/* As many ops as there may be, linear in time: this would take hours were it not. */
START_TEST(test_big)
{
	for (int files = 0; files <= 1; files++) {
		struct buf b = BUF_INIT;
		struct plan *p = NULL;
		struct err e = ERR_INIT;
		uint32_t n = files ? LIMIT_OPS / 8 : LIMIT_OPS;
		big_batch(&b, n, files);
		int64_t start = time_mono_ms();
		if (plan_make(buf_slice(&b), &p, &e))
			ck_abort_msg("%s", e.text);
		if (getenv("VERBOSE"))
			printf("%s: %u ops, %zu bytes: %d ms\n", files ? "files" : "chain", n,
			       b.len, (int)(time_mono_ms() - start));
		ck_assert_uint_eq(p->n_ops, n);
		ck_assert_uint_eq(p->n_deps, files ? 0 : n - 1);
		plan_free(p);
		buf_done(&b);
	}
}
END_TEST

START_TEST(test_too_many)
{
	struct plan *p = NULL;
	struct err e = ERR_INIT;
	struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	pk_map(&pk);
	pk_kstr(&pk, "cwd", slice_str("/work"));
	pk_key(&pk, "messages");
	pk_array(&pk);
	for (uint32_t message = 0; message < 2; message++) {
		pk_map(&pk);
		pk_key(&pk, "ops");
		pk_array(&pk);
		for (uint32_t i = 0; i < LIMIT_OPS / 2 + message; i++)
			pk_nil(&pk);
		pk_end(&pk);
		pk_end(&pk);
	}
	pk_end(&pk);
	pk_end(&pk);
	ck_assert_int_eq(plan_make(buf_slice(&b), &p, &e), 1);
	ck_assert_int_eq(e.sym, E_LIMIT);
	ck_assert_str_eq(e.text, "messages[1].ops: more than 1048576 ops in a batch");
	buf_done(&b);
}
END_TEST

/* Whatever is cut out of or put into a batch, planning answers and reads nothing outside it. */
START_TEST(test_mutated)
{
	struct buf b = BUF_INIT;
	batch_text(&b, "{'cwd': '/w', 'env': {'A': 'b'}, 'messages': [{'ops': [{'kind': 'bash', "
		       "'command': 'x', 'id': 'a', 'stdin': 'y'},"
		       "{'kind': 'exec', 'argv': ['a', 'b'], 'needs': ['a'], 'meta': {'k': [1]}},"
		       "{'kind': 'write', 'path': 'x', 'content': 'y', 'mode': '644'}, {'kind': "
		       "'todos', 'todos': [{'id': 'x', 'content': 'c'}]}]}]}");
	uint32_t seed = 12345;
	for (int i = 0; i < 40000; i++) {
		char *copy = malloc(b.len);
		struct scan s;
		struct plan *p = NULL;
		struct err e;
		size_t used;
		memcpy(copy, b.p, b.len);
		for (int k = 0; k <= i % 3; k++) {
			seed = seed * 1664525 + 1013904223;
			copy[(seed >> 8) % b.len] = (char)(seed >> 24);
		}
		scan_init(&s);
		if (scan_feed(&s, copy, b.len, &used) == SCAN_DONE &&
		    plan_make(slice_of(copy, used), &p, &e) == 0) {
			struct buf out = BUF_INIT;
			uint8_t d[32];
			batch_strip(p->raw, &out);
			batch_digest(p->raw, d);
			batch_env(&p->head, NULL, &out);
			plan_free(p);
			buf_done(&out);
		}
		free(copy);
	}
	buf_done(&b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("batch");
	TCase *t = tcase_create("batch");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_rows, 0, (int)ARRAY_SIZE(rows));
	tcase_add_test(t, test_plan);
	tcase_add_loop_test(t, test_text, 0, (int)ARRAY_SIZE(texts));
	tcase_add_test(t, test_text_cut);
	tcase_add_test(t, test_paths);
	tcase_add_test(t, test_strip);
	tcase_add_loop_test(t, test_digest, 0, (int)ARRAY_SIZE(digests));
	tcase_add_test(t, test_digest_stays);
	tcase_add_loop_test(t, test_env, 0, (int)ARRAY_SIZE(envs));
	tcase_add_test(t, test_sizes);
	tcase_add_test(t, test_big);
	tcase_add_test(t, test_too_many);
	tcase_add_test(t, test_mutated);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
