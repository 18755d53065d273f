#include "client/mcp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctx.h"
#include "client/json.h"
#include "client/jsonrpc.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/errors.h"

#define META "io.modelcontextprotocol/"
#define MODERN "2026-07-28"
#define MCP_BACKLOG_BYTES (8u << 20)
#define MCP_TTL_MS 3600000 /* of lists that never change */

static const char *const legacy_versions[] = { "2025-11-25", "2025-06-18", "2024-11-05" };

/* ---- sending ---- */

static void mcp_put(struct mcp *m, struct buf *text)
{
	frames_put(&m->frames, buf_slice(text));
}

void mcp_notify(struct mcp *m, const char *method, json_t *params)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	jr_notification(&out, slice_str(method));
	json_print(params, JSON_LINE, &out);
	jr_end(&out);
	mcp_put(m, &out);
	json_decref(params);
}

void mcp_request_free(struct mcp_request *r)
{
	mcp_watch_forget(r->m, r);
	if (r->sub)
		mcp_tell(r->m, "rpc.unsubscribe", json_pack("{s:I}", "sub", (json_int_t)r->sub));
	list_del(&r->list);
	json_decref(r->id);
	json_decref(r->params);
	json_decref(r->kept);
	free(r->uri);
	free(r);
}

static json_t *mcp_server_info(void)
{
	return json_pack("{s:s, s:s, s:s}", "name", "batchd", "title",
			 "batchd: batches of operations", "version", BATCHD_VERSION);
}

/* What every result of the newer era says. */
static void mcp_modernise(const struct mcp_request *r, json_t *result)
{
	json_t *meta = json_object_get(result, "_meta");
	json_object_set_new(result, "resultType", json_string("complete"));
	if (!meta) {
		meta = json_object();
		json_object_set_new(result, "_meta", meta);
	}
	json_object_set_new(meta, META "serverInfo", mcp_server_info());
	if (r->cacheable && !json_object_get(result, "ttlMs")) {
		json_object_set_new(result, "ttlMs", json_integer(0));
		json_object_set_new(result, "cacheScope", json_string("private"));
	}
}

void mcp_result(struct mcp_request *r, json_t *result)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	if (r->modern)
		mcp_modernise(r, result);
	jr_result(&out, r->id);
	json_print(result, JSON_LINE, &out);
	jr_end(&out);
	if (!r->cancelled)
		mcp_put(r->m, &out);
	json_decref(result);
	mcp_request_free(r);
}

static json_t *mcp_content(struct slice text)
{
	return json_pack("[{s:s, s:o}]", "type", "text", "text", json_stringn(text.p, text.len));
}

/* The same once more as text: clients that know no structured content show that. */
void mcp_structured(struct mcp_request *r, json_t *structured)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	json_print(structured, JSON_LINE, &text);
	mcp_result(r, json_pack("{s:o, s:o, s:b}", "content", mcp_content(buf_slice(&text)),
				"structuredContent", structured, "isError", 0));
}

void mcp_tool_error(struct mcp_request *r, const char *text)
{
	bool lossy;
	json_t *s = mcp_lossy(slice_str(text), &lossy);
	mcp_result(r, json_pack("{s:[{s:s, s:o}], s:b}", "content", "type", "text", "text", s,
				"isError", 1));
}

void mcp_error(struct mcp_request *r, int code, const char *text, json_t *data)
{
	_cleanup_buf_ struct buf out = BUF_INIT, data_text = BUF_INIT;
	if (data)
		json_print(data, JSON_LINE, &data_text);
	jr_error(&out, r->id, code, text, data ? buf_str(&data_text) : NULL);
	if (!r->cancelled)
		mcp_put(r->m, &out);
	json_decref(data);
	mcp_request_free(r);
}

/* ---- asking batchd ---- */

static void mcp_ignore(void *arg, struct slice result, const struct err *e)
{
	(void)arg, (void)result, (void)e;
}

static void mcp_call(struct mcp *m, const char *method, json_t *params, link_reply_fn reply,
		     void *arg)
{
	_cleanup_buf_ struct buf packed = BUF_INIT;
	struct err e = ERR_INIT;
	if (json_to_mp(params, &packed, &e))
		reply(arg, SLICE_NONE, &e);
	else
		link_call(m->link, method, buf_slice(&packed), reply, arg);
	json_decref(params);
}

/* batchd learns who calls, and from where, at the first call. */
static void mcp_greet(struct mcp *m)
{
	if (m->greeted)
		return;
	m->greeted = true;
	json_t *hello = json_pack("{s:s, s:o, s:b}", "client", m->client ? m->client : "mcp", "cwd",
				  json_bytes(slice_str(m->base)), "omit_nil", 1);
	mcp_call(m, "rpc.hello", hello, mcp_ignore, m);
}

void mcp_tell(struct mcp *m, const char *method, json_t *params)
{
	mcp_call(m, method, params, mcp_ignore, m);
}

static void mcp_failed(struct mcp_request *r, const struct err *e)
{
	if (r->is_tool)
		mcp_tool_error(r, e->text);
	else if (r->uri && e->sym == E_NOT_FOUND)
		mcp_no_resource(r, r->uri);
	else
		mcp_error(r, err_symbol_is_callers(e->sym) ? JR_PARAMS : JR_INTERNAL, e->text,
			  NULL);
}

static void mcp_answered(void *arg, struct slice result, const struct err *e)
{
	struct mcp_request *r = arg;
	_cleanup_json_ json_t *value = NULL;
	struct err bad = ERR_INIT;
	if (!e && json_from_mp(result, &value, &bad))
		e = &bad;
	if (e)
		mcp_failed(r, e);
	else
		r->next(r, value);
}

void mcp_ask(struct mcp_request *r, const char *method, json_t *params,
	     void (*next)(struct mcp_request *r, json_t *result))
{
	mcp_greet(r->m);
	r->next = next;
	mcp_call(r->m, method, params, mcp_answered, r);
}

static void mcp_push(void *arg, struct slice method, struct slice args, struct slice event)
{
	struct mcp *m = arg;
	_cleanup_json_ json_t *value = NULL;
	(void)method, (void)args;
	if (!event.p || json_from_mp(event, &value, NULL))
		return;
	int64_t sub = json_integer_value(json_object_get(value, "sub"));
	if (!mcp_run_event(m, sub, value))
		mcp_watch_event(m, sub, value);
}

/* ---- the methods of the protocol ---- */

static json_t *mcp_capabilities(void)
{
	return json_pack("{s:{s:b}, s:{s:b, s:b}}", "tools", "listChanged", 0, "resources",
			 "subscribe", 1, "listChanged", 0);
}

/* The name is the source of what it writes to todo lists. */
static void mcp_note_client(struct mcp *m, const json_t *info)
{
	const char *name = json_string_value(json_object_get(info, "name"));
	if (m->client || !name || !*name || strlen(name) > 100)
		return;
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return;
	m->client = xstrdup(name);
}

static void mcp_initialize(struct mcp_request *r)
{
	const char *asked = json_string_value(json_object_get(r->params, "protocolVersion"));
	const char *version = legacy_versions[0];
	for (size_t i = 0; asked && i < ARRAY_SIZE(legacy_versions); i++)
		if (strcmp(asked, legacy_versions[i]) == 0)
			version = legacy_versions[i];
	mcp_note_client(r->m, json_object_get(r->params, "clientInfo"));
	r->modern = false;
	mcp_result(r, json_pack("{s:s, s:o, s:o, s:s}", "protocolVersion", version, "capabilities",
				mcp_capabilities(), "serverInfo", mcp_server_info(), "instructions",
				agents_short));
}

/* Tools and templates are the same for everybody until batchctl is replaced. */
static json_t *mcp_lasting(json_t *result)
{
	json_object_set_new(result, "ttlMs", json_integer(MCP_TTL_MS));
	json_object_set_new(result, "cacheScope", json_string("public"));
	return result;
}

static void mcp_discover(struct mcp_request *r)
{
	mcp_result(r, mcp_lasting(json_pack("{s:[s], s:o, s:s}", "supportedVersions", MODERN,
					    "capabilities", mcp_capabilities(), "instructions",
					    agents_short)));
}

static void mcp_ping(struct mcp_request *r)
{
	mcp_result(r, json_object());
}

static void mcp_list_tools(struct mcp_request *r)
{
	json_t *result = json_pack("{s:o}", "tools", mcp_tools_list());
	mcp_result(r, r->modern ? mcp_lasting(result) : result);
}

static void mcp_call_tool(struct mcp_request *r)
{
	const char *name = json_string_value(json_object_get(r->params, "name"));
	json_t *args = json_object_get(r->params, "arguments");
	r->tool = name ? mcp_tool_find(name) : NULL;
	if (!r->tool) {
		char text[300];
		snprintf(text, sizeof(text), "unknown tool '%.200s': tools/list names them",
			 name ? name : "");
		mcp_error(r, JR_PARAMS, text, NULL);
		return;
	}
	if (args && !json_is_null(args) && !json_is_object(args)) {
		mcp_error(r, JR_PARAMS, "arguments must be an object", NULL);
		return;
	}
	if (!json_is_object(args)) {
		args = json_object();
		json_object_set_new(r->params, "arguments", args);
	}
	r->args = args;
	r->is_tool = true;
	r->tool->call(r);
}

enum mcp_eras { LEGACY = 1, NEWER = 2, BOTH = 3 };

static const struct {
	const char *method;
	void (*serve)(struct mcp_request *r);
	enum mcp_eras eras;
	bool cacheable;
} mcp_methods[] = {
	{ "initialize", mcp_initialize, BOTH, false },
	{ "server/discover", mcp_discover, NEWER, true },
	{ "ping", mcp_ping, LEGACY, false },
	{ "tools/list", mcp_list_tools, BOTH, true },
	{ "tools/call", mcp_call_tool, BOTH, false },
	{ "resources/list", mcp_resources_list, BOTH, true },
	{ "resources/templates/list", mcp_resources_templates, BOTH, true },
	{ "resources/read", mcp_resources_read, BOTH, true },
	{ "resources/subscribe", mcp_subscribe, LEGACY, false },
	{ "resources/unsubscribe", mcp_unsubscribe, LEGACY, false },
	{ "subscriptions/listen", mcp_listen, NEWER, false },
};

static void mcp_dispatch(struct mcp_request *r, const char *method)
{
	for (size_t i = 0; i < ARRAY_SIZE(mcp_methods); i++) {
		if (strcmp(mcp_methods[i].method, method) != 0 ||
		    !(mcp_methods[i].eras & (r->modern ? NEWER : LEGACY)))
			continue;
		r->cacheable = mcp_methods[i].cacheable;
		mcp_methods[i].serve(r);
		return;
	}
	char text[300];
	snprintf(text, sizeof(text), "no method '%.200s' in this version of the protocol", method);
	mcp_error(r, JR_METHOD, text, NULL);
}

static void mcp_request(struct mcp *m, const struct jr_call *call)
{
	struct mcp_request *r = xcalloc(1, sizeof(*r));
	*r = (struct mcp_request){ .m = m, .id = json_copy((json_t *)call->id) };
	r->params = json_is_object(call->params) ? json_deep_copy(call->params) : json_object();
	list_add_tail(&m->requests, &r->list);
	json_t *meta = json_object_get(r->params, "_meta");
	const char *version = json_string_value(json_object_get(meta, META "protocolVersion"));
	json_t *token = json_object_get(meta, "progressToken");
	r->token = json_is_string(token) || json_is_integer(token) ? token : NULL;
	r->modern = version && strcmp(version, MODERN) == 0;
	if (version && !r->modern && strcmp(call->method, "initialize") != 0) {
		mcp_error(r, MCP_BAD_VERSION, "this version of the protocol is not spoken here",
			  json_pack("{s:[s], s:s}", "supported", MODERN, "requested", version));
		return;
	}
	mcp_note_client(m, json_object_get(meta, META "clientInfo"));
	mcp_dispatch(r, call->method);
}

static void mcp_cancelled(struct mcp *m, const json_t *params)
{
	const json_t *id = json_object_get(params, "requestId");
	if (mcp_listen_cancel(m, id))
		return;
	list_for (&m->requests, node) {
		struct mcp_request *r = list_entry(node, struct mcp_request, list);
		if (!r->cancelled && json_equal(r->id, id)) {
			r->cancelled = true;
			mcp_run_abandon(r);
			return;
		}
	}
}

/* ---- the loop ---- */

static void mcp_refuse(struct mcp *m, const json_t *id, int code, const char *text)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	jr_error(&out, id, code, text, NULL);
	mcp_put(m, &out);
}

static void mcp_message(struct mcp *m, struct slice text)
{
	_cleanup_json_ json_t *message = NULL;
	struct err e = ERR_INIT;
	struct jr_call call;
	if (json_read(text, "message", &message, &e)) {
		mcp_refuse(m, NULL, JR_PARSE, e.text);
		return;
	}
	switch (jr_read(message, &call)) {
	case JR_CALL:
		if (call.id)
			mcp_request(m, &call);
		else if (strcmp(call.method, "notifications/cancelled") == 0)
			mcp_cancelled(m, call.params);
		break;
	case JR_REPLY:
		break;
	case JR_INVALID:
		mcp_refuse(m, call.id, JR_REQUEST, "not a JSON-RPC 2.0 request");
		break;
	}
}

static void mcp_take(struct mcp *m)
{
	struct slice text;
	struct err e = ERR_INIT;
	enum frames_got got;
	while ((got = frames_next(&m->frames, &text, &e)) != FRAMES_NONE) {
		if (got == FRAMES_ONE)
			mcp_message(m, text);
		else
			mcp_refuse(m, NULL, JR_PARSE, e.text);
	}
}

static void mcp_turn(struct mcp *m)
{
	struct pollfd fds[3];
	bool reading = frames_backlog(&m->frames) < MCP_BACKLOG_BYTES;
	frames_poll(&m->frames, reading, fds);
	link_poll(m->link, reading, &fds[2]);
	int64_t deadline = link_deadline(m->link);
	int wait = deadline < 0 ? -1 : (int)MAX2(deadline - time_mono_ms(), 0);
	if (poll(fds, 3, wait) < 0)
		return; /* EINTR */
	frames_ready(&m->frames, fds);
	mcp_take(m);
	link_step(m->link, reading);
	mcp_watch_flush(m);
}

/* At the end of stdin what was asked is answered; streams are ended, and runs go on. */
static bool mcp_is_over(struct mcp *m)
{
	if (m->frames.gone)
		return true;
	if (!m->frames.eof)
		return false;
	mcp_watch_done(m);
	return list_empty(&m->requests) && frames_backlog(&m->frames) == 0;
}

int mcp_serve(struct ctx *c, const struct strv *pass_env)
{
	const char *project = getenv("CLAUDE_PROJECT_DIR"), *cwd = ctx_cwd();
	struct mcp m = { .c = c, .pass_env = pass_env, .begun = time_wall_ms() };
	if (!project || project[0] != '/')
		project = cwd ? cwd : "/";
	m.base = xstrdup(project);
	list_init(&m.requests);
	list_init(&m.watches);
	frames_init(&m.frames, FRAMING_NDJSON);
	m.link = link_new(c, true, mcp_push, &m);
	while (!mcp_is_over(&m))
		mcp_turn(&m);
	mcp_watch_done(&m);
	link_free(m.link);
	frames_done(&m.frames);
	free(m.client);
	free(m.base);
	return EXIT_OK;
}
