/* The method table: its rows, params right and wrong, todo items. */
#include <check.h>
#include <ctype.h>

#include "proto/errors.h"
#include "proto/limits.h"
#include "proto/methods.h"
#include "tests/unit/mp_text.h"

START_TEST(test_table)
{
	for (int i = 0; i < METHOD_MAX; i++) {
		const struct method *m = &methods[i];
		uint32_t n = 0;
		ck_assert_int_eq(m->id, i);
		ck_assert_ptr_eq(method_find(slice_str(m->name)), m);
		ck_assert_uint_le(strlen(m->name), LIMIT_METHOD_BYTES);
		ck_assert(m->doc && *m->doc && m->params_size > 0);
		for (const struct field *f = m->fields; f->name; f++, n++) {
			ck_assert_msg(f->doc && *f->doc, "%s.%s has no line of documentation",
				      m->name, f->name);
			ck_assert_uint_lt(f->offset, m->params_size);
			for (const struct field *g = m->fields; g < f; g++)
				ck_assert_msg(strcmp(f->name, g->name) != 0, "%s.%s is there twice",
					      m->name, f->name);
		}
		ck_assert_uint_le(n, FIELD_MAX_PER_TABLE);
	}
	ck_assert_ptr_null(method_find(slice_str("run.lisp")));
	ck_assert_ptr_null(method_find(slice_str("")));
}
END_TEST

static const struct {
	enum method_id method;
	const char *params, *error;
} rows[] = {
	{ METHOD_RUN_LIST, "[]", NULL },
	{ METHOD_RUN_LIST, "[{}]", NULL },
	{ METHOD_RUN_LIST, "[[]]", NULL },
	{ METHOD_RUN_LIST, "{}", "params must be [] or [map]" },
	{ METHOD_RUN_LIST, "[{}, {}]", "params must be [] or [map]" },
	{ METHOD_RUN_LIST, "[7]", "must be a map, not int" },
	{ METHOD_RUN_LIST, "[{'statee': 'queued'}]",
	  "statee: unknown key (did you mean 'state'?)" },
	{ METHOD_RUN_LIST, "[{'state': 'dead'}]",
	  "state: 'dead' is unknown: must be one of 'queued', 'running', 'paused', 'succeeded', "
	  "'failed', 'cancelled', 'interrupted'" },
	{ METHOD_RUN_GET, "[]", "run: required" },
	{ METHOD_RUN_GET, "[{'run': nil}]", "run: required" },
	{ METHOD_RUN_GET, "[{'run': 0}]", "run: must be at least 1, not 0" },
	{ METHOD_RUN_GET, "[{'run': 1.0, 'ops': 'failed', 'offset': 3, 'output': 100}]", NULL },
	{ METHOD_RUN_WAIT, "[{'timeout_ms': 5}]", "give one of 'run' and 'runs'" },
	{ METHOD_RUN_WAIT, "[{'run': 1, 'runs': [2]}]", "give one of 'run' and 'runs'" },
	{ METHOD_RUN_WAIT, "[{'runs': []}]", "runs: must not be empty" },
	{ METHOD_RUN_WAIT, "[{'runs': [1, 2], 'any': true}]", NULL },
	{ METHOD_RUN_CANCEL,
	  "[{'run': 1, 'op': 'build', 'signal': 'SIGTERM', 'grace': '2s', 'now': true}]", NULL },
	{ METHOD_RUN_OUTPUT, "[{'run': 1}]", "op: required" },
	{ METHOD_RUN_OUTPUT, "[{'run': 1, 'op': 1, 'tail': 5, 'lines': 5}]",
	  "give only one of 'offset', 'tail' and 'lines'" },
	{ METHOD_RUN_FORGET, "[]", "give 'run', 'runs', 'before' or 'state'" },
	{ METHOD_RUN_SUBSCRIBE, "[{'output': false, 'push': ['nvim_exec_lua', 'code', []]}]",
	  NULL },
	{ METHOD_RUN_SUBSCRIBE, "[{'output': 'data'}]", NULL },
	{ METHOD_RUN_SUBSCRIBE, "[{'push': []}]", "push: must be [method, args...], not empty" },
	{ METHOD_TODO_WRITE, "[{'list': 'l'}]", "todos: required" },
	{ METHOD_TODO_UPDATE, "[{'list': 'l', 'content': 'x'}]", "id: required" },
	{ METHOD_TODO_UPDATE, "[{'list': 'l', 'id': 'x', 'activeForm': 'a', 'active_form': 'b'}]",
	  "activeForm: given twice, as 'active_form' too" },
	{ METHOD_TODO_UPDATE, "[{'list': 'l', 'id': 'x', 'content': ''}]",
	  "content: must not be empty" },
	{ METHOD_TODO_UPDATE, "[{'list': 'l', 'id': 'x', 'colour': 'red'}]",
	  "colour: unknown key" },
	{ METHOD_TODO_CLAIM, "[{'list': 'l'}]", "owner: required" },
	{ METHOD_GROUP_SET, "[{'group': 'g'}]", "give 'slots' or 'paused'" },
	{ METHOD_DAEMON_STATUS, "[{'x': 1}]", "x: unknown key" },
	{ METHOD_RPC_ASYNC, "[{'method': 'run.wait', 'params': {'run': 1}, 'push': ['x']}]", NULL },
	{ METHOD_RPC_HELLO, "[{'client': 'x', 'protocol': 1, 'cwd': 'here'}]",
	  "cwd: must be absolute" },
};

START_TEST(test_rows)
{
	struct buf b = BUF_INIT;
	struct err e = ERR_INIT;
	char *params = malloc(METHOD_PARAMS_MAX);
	memset(params, 0xa5, METHOD_PARAMS_MAX);
	int r = method_decode(&methods[rows[_i].method], mp_text(&b, rows[_i].params), params, &e);
	if (!rows[_i].error) {
		ck_assert_msg(r == 0, "%s: %s", rows[_i].params, e.text);
	} else {
		ck_assert_msg(r == 1, "%s was accepted", rows[_i].params);
		ck_assert_str_eq(e.text, rows[_i].error);
		ck_assert_int_eq(e.sym, E_PARAMS);
	}
	free(params);
	buf_done(&b);
}
END_TEST

static void decode(struct buf *b, enum method_id id, const char *text, void *ret)
{
	struct err e;
	buf_clear(b);
	if (method_decode(&methods[id], mp_text(b, text), ret, &e))
		ck_abort_msg("%s: %s", text, e.text);
}

START_TEST(test_defaults)
{
	struct buf b = BUF_INIT;
	struct params_run_get get;
	struct params_run_output out;
	struct params_run_list list;
	struct params_todo_update update;
	struct params_group_set group;
	decode(&b, METHOD_RUN_GET, "[{'run': 5}]", &get);
	ck_assert(get.run == 5 && get.ops == RUN_OPS_ALL && get.offset == 1 && get.limit == -1 &&
		  get.output == -1);
	decode(&b, METHOD_RUN_OUTPUT, "[{'run': 5, 'op': 'x', 'stream': 'stderr', 'lines': 3}]",
	       &out);
	ck_assert(out.stream == STREAM_STDERR && out.offset == -1 && out.tail == -1 &&
		  out.lines == 3);
	ck_assert(out.limit == -1 && out.op.index == 0 &&
		  slice_is(out.op.id, "x"));
	decode(&b, METHOD_RUN_LIST, "[{'state': ['queued', 'failed']}]", &list);
	ck_assert(list.states == (1u << 0 | 1u << 4) && list.limit == 100 && list.before == 0);
	decode(&b, METHOD_TODO_UPDATE,
	       "[{'list': 'l', 'id': 'x', 'priority': 'critical', 'owner': '', 'rev': 3}]",
	       &update);
	ck_assert(update.critical && update.item.priority == 0 && update.item.status == -1 &&
		  update.base_rev == -1);
	ck_assert(update.item.owner.p && update.item.owner.len == 0 && !update.item.content.p);
	decode(&b, METHOD_GROUP_SET, "[{'group': 'g', 'paused': false}]", &group);
	ck_assert(group.has_paused && !group.paused && group.slots == 0);
	buf_done(&b);
}
END_TEST

/* What is kept of an item is sound, and so is what is not: a batch that holds it is walked again
 * and again. */
START_TEST(test_item_keys)
{
	static const char rev[] = "\x82\xa7"
				  "content\xa1x\xa3rev\x81\x01\x02";
	struct todo_item item;
	struct err e;
	ck_assert_int_eq(todo_item_decode(slice_of(rev, sizeof(rev) - 1), "", &item, NULL, &e), 1);
	ck_assert_str_eq(e.text, "rev: keys must be str, not int");
}
END_TEST

/* Bytes that are no UTF-8 are fine in the batch of an rpc.async, as in any. */
START_TEST(test_async_bytes)
{
	struct buf b = BUF_INIT;
	struct params_rpc_async p;
	struct err e;
	mp_text(&b,
		"[{'method': 'batch.submit', 'params': {'batch': {'x': '\\xff'}}, 'push': ['x']}]");
	ck_assert_int_eq(method_decode(&methods[METHOD_RPC_ASYNC], buf_slice(&b), &p, &e), 0);
	buf_done(&b);
}
END_TEST

/* --- todo items --- */

static const struct {
	const char *item, *error;
} items[] = {
	{ "7", "todos[0]: must be a map, not int" },
	{ "{}", "todos[0]: an item needs 'content', or the 'id' of one that is there" },
	{ "{'content': ''}", "todos[0].content: must not be empty" },
	{ "{'content': '\\xff'}", "todos[0].content: not valid UTF-8" },
	{ "{'id': 7, 'content': 'x'}", "todos[0].id: must be a str, not int" },
	{ "{'content': 'x', 'priority': 'urgent'}",
	  "todos[0].priority: 'urgent' is unknown: must be one of 'high', 'medium', 'low', "
	  "'critical'" },
	{ "{'content': 'x', 'blockedBy': ['a'], 'dependencies': ['b']}",
	  "todos[0].dependencies: given twice, as 'blockedBy' too" },
	{ "{'content': 'x', 'foo': 1, 'foo': 2}", "todos[0].foo: given twice" },
	{ "{'content': 'x', 'foo': {'a': 1, 'a': 2}}", "todos[0].foo.a: given twice" },
	{ "{'content': 'x', 'rev': {'a': 1, 'a': 2}}", "todos[0].rev.a: given twice" },
	{ "{'content': 'x', 'content': 'y'}", "todos[0].content: given twice" },
};

START_TEST(test_item_refused)
{
	struct buf b = BUF_INIT, storage = BUF_INIT;
	struct todo_item item;
	struct err e;
	ck_assert_int_eq(
		todo_item_decode(mp_text(&b, items[_i].item), "todos[0]", &item, &storage, &e), 1);
	ck_assert_str_eq(e.text, items[_i].error);
	buf_done(&b);
	buf_done(&storage);
}
END_TEST

START_TEST(test_item)
{
	struct buf b = BUF_INIT, storage = BUF_INIT, want = BUF_INIT;
	struct todo_item item;
	struct err e = ERR_INIT;
	mp_text(&b, "{'id': '1', 'content': 'c', 'status': 'in_progress', 'priority': 'critical', "
		    "'activeForm': 'doing',"
		    "'assignedAgent': 'me', 'dependsOn': ['2', '3'], 'parent': nil, 'tags': [], "
		    "'at': 'f.c:3', 'estimate': '2h', 'gone': nil,"
		    "'meta': {'estimate': 'old', 'kept': [1]}, 'rev': 9, 'created': 1, 'started': "
		    "nil, 'completed': 2, 'position': 4,"
		    "'run': 3, 'source': 's', 'list': 'l', 'lease_until': 5}");
	if (todo_item_decode(buf_slice(&b), "", &item, &storage, &e))
		ck_abort_msg("%s", e.text);
	ck_assert(slice_is(item.id, "1") && slice_is(item.content, "c") &&
		  slice_is(item.active_form, "doing"));
	ck_assert(slice_is(item.owner, "me") && slice_is(item.at, "f.c:3") && !item.parent.p &&
		  !item.error.p);
	ck_assert(item.status == 1 && item.priority == 0 && array_count(item.blocked_by) == 2 &&
		  item.tags.p);
	mp_text(&want, "{'estimate': '2h', 'priority': 'critical', 'kept': [1]}");
	ck_assert(slice_eq(item.meta, buf_slice(&want)));
	/* written back as listed, nothing is lost and nothing changes */
	buf_clear(&b);
	mp_text(&b, "{'id': '1', 'content': 'c', 'priority': 'high', 'meta': {'estimate': '2h', "
		    "'priority': 'critical', 'kept': [1]}}");
	ck_assert_int_eq(todo_item_decode(buf_slice(&b), "", &item, &storage, &e), 0);
	ck_assert(slice_eq(item.meta, buf_slice(&want)));
	/* only proved */
	ck_assert_int_eq(todo_item_decode(buf_slice(&b), "", &item, NULL, &e), 0);
	ck_assert_int_eq(item.status, -1);
	buf_done(&b);
	buf_done(&storage);
	buf_done(&want);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("methods");
	TCase *t = tcase_create("methods");
	tcase_add_test(t, test_table);
	tcase_add_loop_test(t, test_rows, 0, (int)ARRAY_SIZE(rows));
	tcase_add_test(t, test_defaults);
	tcase_add_loop_test(t, test_item_refused, 0, (int)ARRAY_SIZE(items));
	tcase_add_test(t, test_item);
	tcase_add_test(t, test_item_keys);
	tcase_add_test(t, test_async_bytes);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
