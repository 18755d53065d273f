/* Resources: todo lists, runs, and what ops printed. */
#include <ctype.h>
#include <string.h>

#include "client/json.h"
#include "client/jsonrpc.h"
#include "client/mcp.h"
#include "common/text.h"
#include "common/xalloc.h"

#define PREFIX_TODOS "batchd://todos/"
#define PREFIX_RUNS "batchd://runs/"
#define RESOURCE_RUNS 50
#define RESOURCE_BYTES 32768

/* ---- URIs ---- */

static void uri_escape(const char *s, struct buf *b)
{
	for (; *s; s++) {
		if (isalnum((unsigned char)*s) || strchr("-._~", *s))
			buf_addc(b, *s);
		else
			buf_addf(b, "%%%02X", (unsigned char)*s);
	}
}

static int uri_hex(char c)
{
	return c >= '0' && c <= '9'	    ? c - '0'
	       : isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10
					    : -1;
}

/* Malloced; NULL where it is no name. */
static char *uri_unescape(const char *s)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	for (; *s; s++) {
		if (*s != '%') {
			buf_addc(&b, *s);
			continue;
		}
		int high = uri_hex(s[1]), low = high < 0 ? -1 : uri_hex(s[2]);
		if (low < 0 || high * 16 + low == 0)
			return NULL;
		buf_addc(&b, (char)(high * 16 + low));
		s += 2;
	}
	return b.len && utf8_valid(buf_slice(&b)) ? buf_steal(&b) : NULL;
}

/* RUN/ops/OP/STREAM */
static bool place_output(const char *rest, struct mcp_place *ret)
{
	static const struct {
		const char *word, *stream;
	} streams[] = { { "output", "both" }, { "stdout", "stdout" }, { "stderr", "stderr" } };
	static const char ops[] = "ops/";
	if (strncmp(rest, ops, sizeof(ops) - 1) != 0)
		return false;
	rest += sizeof(ops) - 1;
	size_t len = strcspn(rest, "/");
	if (!parse_int(slice_of(rest, len), 1, INT32_MAX, &ret->op) || !rest[len])
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(streams); i++)
		if (strcmp(rest + len + 1, streams[i].word) == 0)
			ret->stream = streams[i].stream;
	ret->kind = PLACE_OUTPUT;
	return ret->stream != NULL;
}

bool mcp_place(const char *uri, struct mcp_place *ret)
{
	*ret = (struct mcp_place){ .kind = PLACE_NONE };
	if (uri && strncmp(uri, PREFIX_TODOS, sizeof(PREFIX_TODOS) - 1) == 0) {
		ret->kind = PLACE_TODOS;
		ret->list = uri_unescape(uri + sizeof(PREFIX_TODOS) - 1);
		return ret->list != NULL;
	}
	if (!uri || strncmp(uri, PREFIX_RUNS, sizeof(PREFIX_RUNS) - 1) != 0)
		return false;
	uri += sizeof(PREFIX_RUNS) - 1;
	size_t len = strcspn(uri, "/");
	if (!parse_int(slice_of(uri, len), 1, INT64_MAX, &ret->run))
		return false;
	ret->kind = PLACE_RUN;
	return !uri[len] || place_output(uri + len + 1, ret);
}

void mcp_no_resource(struct mcp_request *r, const char *uri)
{
	json_t *data = json_pack("{s:s}", "uri", uri ? uri : "");
	mcp_error(r, r->modern ? JR_PARAMS : MCP_NO_RESOURCE, "no such resource", data);
}

/* ---- listing ---- */

static json_t *resource_todos(const char *list)
{
	_cleanup_buf_ struct buf uri = BUF_INIT;
	buf_adds(&uri, PREFIX_TODOS);
	uri_escape(list, &uri);
	return json_pack("{s:s, s:o, s:s, s:s}", "uri", buf_str(&uri), "name",
			 json_sprintf("todos: %s", list), "description", "A shared todo list",
			 "mimeType", "application/json");
}

static void resources_listed(struct mcp_request *r, json_t *result)
{
	json_t *all = json_incref(r->kept), *one;
	size_t i;
	json_array_foreach(json_object_get(result, "runs"), i, one)
	{
		long long run = json_integer_value(json_object_get(one, "run"));
		const char *name = json_string_value(json_object_get(one, "name"));
		const char *state = json_string_value(json_object_get(one, "state"));
		json_array_append_new(
			all, json_pack("{s:o, s:o, s:o, s:s}", "uri",
				       json_sprintf(PREFIX_RUNS "%lld", run), "name",
				       json_sprintf("run %lld%s%s", run, name ? ": " : "",
						    name ? name : ""),
				       "description", json_sprintf("A run, %s when listed", state),
				       "mimeType", "application/json"));
	}
	mcp_result(r, json_pack("{s:o}", "resources", all));
}

static void resources_lists(struct mcp_request *r, json_t *result)
{
	json_t *one;
	size_t i;
	r->kept = json_array();
	json_array_foreach(json_object_get(result, "lists"), i, one)
	{
		const char *list = json_string_value(json_object_get(one, "list"));
		if (list)
			json_array_append_new(r->kept, resource_todos(list));
	}
	mcp_ask(r, "run.list", json_pack("{s:i}", "limit", RESOURCE_RUNS), resources_listed);
}

void mcp_resources_list(struct mcp_request *r)
{
	mcp_ask(r, "todo.lists", json_object(), resources_lists);
}

void mcp_resources_templates(struct mcp_request *r)
{
	static const struct {
		const char *uri, *name, *description, *type;
	} rows[] = {
		{ PREFIX_TODOS "{list}", "todos", "The items of a todo list", "application/json" },
		{ PREFIX_RUNS "{run}", "run", "A run with its operations", "application/json" },
		{ PREFIX_RUNS "{run}/ops/{op}/output", "output",
		  "What an operation printed, both streams as they came", "text/plain" },
		{ PREFIX_RUNS "{run}/ops/{op}/stdout", "stdout", "An operation's stdout",
		  "text/plain" },
		{ PREFIX_RUNS "{run}/ops/{op}/stderr", "stderr", "An operation's stderr",
		  "text/plain" },
	};
	json_t *all = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		json_array_append_new(all,
				      json_pack("{s:s, s:s, s:s, s:s}", "uriTemplate", rows[i].uri,
						"name", rows[i].name, "description",
						rows[i].description, "mimeType", rows[i].type));
	mcp_result(r, json_pack("{s:o}", "resourceTemplates", all));
}

/* ---- reading ---- */

static void resource_contents(struct mcp_request *r, const char *type, const char *key,
			      json_t *text)
{
	mcp_result(r, json_pack("{s:[{s:s, s:s, s:o}]}", "contents", "uri", r->uri, "mimeType",
				type, key, text));
}

static void resource_json(struct mcp_request *r, json_t *result)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	json_print(result, JSON_PRETTY, &text);
	resource_contents(r, "application/json", "text", json_stringn(text.p, text.len));
}

static void resource_bytes(struct mcp_request *r, struct slice bytes)
{
	_cleanup_buf_ struct buf base64 = BUF_INIT;
	if (utf8_valid(bytes)) {
		resource_contents(r, "text/plain", "text", json_stringn(bytes.p, bytes.len));
		return;
	}
	base64_encode(bytes, &base64);
	resource_contents(r, "application/octet-stream", "blob",
			  json_stringn(base64.p ? base64.p : "", base64.len));
}

static json_t *output_params(const struct mcp_place *at, const char *amount)
{
	return json_pack("{s:I, s:I, s:s, s:i}", "run", (json_int_t)at->run, "op",
			 (json_int_t)at->op, "stream", at->stream, amount,
			 amount[0] == 't' ? RESOURCE_BYTES / 2 : RESOURCE_BYTES);
}

/* Cut after whole characters, so that text stays text. */
static size_t whole_chars(struct slice s, size_t n)
{
	while (n > 0 && n < s.len && ((unsigned char)s.p[n] & 0xc0) == 0x80)
		n--;
	return n;
}

static void resource_tail(struct mcp_request *r, json_t *result)
{
	_cleanup_buf_ struct buf head = BUF_INIT, tail = BUF_INIT;
	struct mcp_place at;
	mcp_bytes(json_object_get(r->kept, "data"), &head);
	mcp_bytes(json_object_get(result, "data"), &tail);
	head.len = whole_chars(buf_slice(&head), MIN2(head.len, RESOURCE_BYTES / 2));
	size_t skip = 0;
	while (skip < tail.len && ((unsigned char)tail.p[skip] & 0xc0) == 0x80 && skip < 3)
		skip++;
	long long size = json_integer_value(json_object_get(result, "size"));
	mcp_place(r->uri, &at);
	buf_addf(&head,
		 "\n[... %lld bytes not shown: run_output {\"run\": %lld, \"op\": %lld, "
		 "\"stream\": \"%s\", \"offset\": %zu} ...]\n",
		 size - (long long)head.len - (long long)(tail.len - skip), (long long)at.run,
		 (long long)at.op, at.stream, head.len);
	buf_add(&head, tail.p + skip, tail.len - skip);
	resource_bytes(r, buf_slice(&head));
}

static void resource_output(struct mcp_request *r, json_t *result)
{
	_cleanup_buf_ struct buf bytes = BUF_INIT;
	struct mcp_place at;
	mcp_bytes(json_object_get(result, "data"), &bytes);
	if (json_integer_value(json_object_get(result, "size")) <= (json_int_t)bytes.len) {
		resource_bytes(r, buf_slice(&bytes));
		return;
	}
	r->kept = json_incref(result);
	mcp_place(r->uri, &at);
	mcp_ask(r, "run.output", output_params(&at, "tail"), resource_tail);
}

void mcp_resources_read(struct mcp_request *r)
{
	const char *uri = json_string_value(json_object_get(r->params, "uri"));
	struct mcp_place at;
	bool known = mcp_place(uri, &at);
	if (!known) {
		mcp_no_resource(r, uri);
		return;
	}
	r->uri = xstrdup(uri);
	if (at.kind == PLACE_TODOS)
		mcp_ask(r, "todo.list", json_pack("{s:s}", "list", at.list), resource_json);
	else if (at.kind == PLACE_RUN)
		mcp_ask(r, "run.get",
			json_pack("{s:I, s:i}", "run", (json_int_t)at.run, "limit", 1000),
			resource_json);
	else
		mcp_ask(r, "run.output", output_params(&at, "limit"), resource_output);
	free(at.list);
}
