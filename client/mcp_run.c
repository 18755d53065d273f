/* The tools that are more than one call: a batch is submitted, followed and shown. */
#include <string.h>

#include "client/json.h"
#include "client/mcp.h"
#include "common/timeutil.h"
#include "proto/errors.h"

#define MCP_PROGRESS_MS 50 /* between two notices, once there were some */
#define MCP_OUTPUT_DEFAULT 8192
#define MCP_OUTPUT_MAX 65536

static json_int_t get_int(const json_t *of, const char *key)
{
	return json_integer_value(json_object_get(of, key));
}

/* ---- showing ---- */

static void run_shown(struct mcp_request *r, json_t *all)
{
	json_t *warnings = json_object_get(r->args, "_warnings");
	json_t *shown = mcp_show_run(r->kept, all);
	if (json_array_size(warnings))
		json_object_set(shown, "warnings", warnings);
	mcp_structured(r, shown);
}

static json_t *run_get_params(const struct mcp_request *r, const char *ops)
{
	return json_pack("{s:I, s:s, s:i, s:i}", "run", (json_int_t)r->run, "ops", ops, "limit",
			 MCP_OPS, "output", MCP_OP_BYTES / 2);
}

static void run_failures(struct mcp_request *r, json_t *failed)
{
	json_t *params = run_get_params(r, "all");
	static const char *const paging[] = { "ops", "offset", "limit", NULL };
	r->kept = json_incref(failed);
	for (size_t i = 0; r->tool->method == METHOD_RUN_GET && paging[i]; i++) {
		json_t *v = json_object_get(r->args, paging[i]);
		if (v)
			json_object_set(params, paging[i], v);
	}
	if (json_object_get(r->args, "limit") && get_int(r->args, "limit") > MCP_OPS)
		json_object_set_new(params, "limit", json_integer(MCP_OPS));
	mcp_ask(r, "run.get", params, run_shown);
}

/* Failures of another page than the one asked for would only be in the way. */
static void run_show(struct mcp_request *r)
{
	const char *ops = get_int(r->args, "offset") > 1 ? "none" : "failed";
	const char *asked = json_string_value(json_object_get(r->args, "ops"));
	if (r->tool->method == METHOD_RUN_GET && asked && strcmp(asked, "none") == 0)
		ops = "none";
	mcp_ask(r, "run.get", run_get_params(r, ops), run_failures);
}

static void run_waited(struct mcp_request *r, json_t *result)
{
	(void)result;
	run_show(r);
}

static void run_await(struct mcp_request *r)
{
	mcp_ask(r, "run.wait",
		json_pack("{s:I, s:I}", "run", (json_int_t)r->run, "timeout_ms",
			  (json_int_t)r->wait_ms),
		run_waited);
}

/* ---- progress ---- */

static bool run_is_over(const char *state)
{
	static const char *const over[] = { "succeeded", "failed",	"skipped",
					    "cancelled", "interrupted", NULL };
	for (size_t i = 0; state && over[i]; i++)
		if (strcmp(state, over[i]) == 0)
			return true;
	return false;
}

/* It must increase, and need not tell of each op when there are thousands. */
static void run_progress(struct mcp_request *r, const char *text)
{
	int64_t now = time_mono_ms();
	bool often = r->ended > 20 && r->ended < r->total && now - r->told_at < MCP_PROGRESS_MS;
	if (r->cancelled || r->ended <= r->told || often)
		return;
	json_t *params = json_pack("{s:O, s:I, s:I}", "progressToken", r->token, "progress",
				   (json_int_t)r->ended, "total", (json_int_t)r->total);
	json_object_set_new(params, "message",
			    json_sprintf("%lld of %lld ops ended%s%s", (long long)r->ended,
					 (long long)r->total, text ? ": " : "", text ? text : ""));
	r->told = r->ended;
	r->told_at = now;
	mcp_notify(r->m, "notifications/progress", params);
}

bool mcp_run_event(struct mcp *m, int64_t sub, json_t *event)
{
	list_for (&m->requests, node) {
		struct mcp_request *r = list_entry(node, struct mcp_request, list);
		const char *state = json_string_value(json_object_get(event, "state"));
		char text[80];
		if (!r->sub || r->sub != sub)
			continue;
		if (json_object_get(event, "op") && run_is_over(state)) {
			r->ended++;
			snprintf(text, sizeof(text), "op %lld %s", (long long)get_int(event, "op"),
				 state);
			run_progress(r, text);
		}
		return true;
	}
	return false;
}

static void run_subscribed(struct mcp_request *r, json_t *result)
{
	static const char *const over[] = { "succeeded", "failed",	"skipped",
					    "cancelled", "interrupted", NULL };
	const json_t *summary = json_object_get(result, "summary");
	r->sub = get_int(result, "sub");
	r->total = get_int(summary, "ops");
	for (size_t i = 0; over[i]; i++)
		r->ended += get_int(summary, over[i]);
	run_progress(r, NULL);
	run_await(r);
}

/* ---- batch_run, batch_submit ---- */

static int64_t run_wait_ms(const struct mcp_request *r, int dflt)
{
	const json_t *wait = json_object_get(r->args, "wait");
	double s = json_is_number(wait) ? json_number_value(wait) : dflt;
	return (int64_t)(s < 0 ? 0 : s > 86400 ? 86400e3 : s * 1000);
}

static void run_submitted(struct mcp_request *r, json_t *result)
{
	r->run = get_int(result, "run");
	json_t *warnings = json_object_get(result, "warnings");
	if (warnings)
		json_object_set(r->args, "_warnings", warnings);
	if (r->cancelled) {
		mcp_run_abandon(r);
		mcp_request_free(r);
	} else if (r->token) {
		mcp_ask(r, "run.subscribe", json_pack("{s:I}", "run", (json_int_t)r->run),
			run_subscribed);
	} else {
		run_await(r);
	}
}

static void run_started(struct mcp_request *r, json_t *result)
{
	json_t *o = json_pack("{s:O}", "run", json_object_get(result, "run"));
	json_t *warnings = json_object_get(result, "warnings");
	if (json_array_size(warnings))
		json_object_set(o, "warnings", warnings);
	json_object_set_new(o, "next",
			    json_sprintf("run_status {\"run\": %lld, \"wait\": 50} waits for it",
					 (long long)get_int(result, "run")));
	mcp_structured(r, o);
}

static void run_submit(struct mcp_request *r, void (*next)(struct mcp_request *r, json_t *result))
{
	struct err e = ERR_INIT;
	json_t *batch = mcp_batch(r->m, r->args, &e);
	if (batch)
		mcp_ask(r, "batch.submit", json_pack("{s:o}", "batch", batch), next);
	else
		mcp_tool_error(r, e.text);
}

void mcp_batch_run(struct mcp_request *r)
{
	r->wait_ms = run_wait_ms(r, MCP_WAIT_S);
	run_submit(r, run_submitted);
}

void mcp_batch_submit(struct mcp_request *r)
{
	run_submit(r, run_started);
}

void mcp_run_abandon(struct mcp_request *r)
{
	if (r->run && r->tool && r->tool->call == mcp_batch_run)
		mcp_tell(r->m, "run.cancel", json_pack("{s:I}", "run", (json_int_t)r->run));
}

/* ---- run_status, run_cancel, run_output ---- */

static void run_listed(struct mcp_request *r, json_t *result)
{
	static const char *const keys[] = { "run",   "name",	"state", "created", "started",
					    "ended", "summary", "cwd",	 NULL };
	json_t *runs = json_array(), *one;
	size_t i;
	json_array_foreach(json_object_get(result, "runs"), i, one)
	{
		json_t *o = json_object();
		for (size_t k = 0; keys[k]; k++)
			if (json_object_get(one, keys[k]))
				json_object_set(o, keys[k], json_object_get(one, keys[k]));
		json_array_append_new(runs, o);
	}
	mcp_structured(r, json_pack("{s:o}", "runs", runs));
}

/* False, with r answered, where there is an argument that the tool has not. */
static bool run_knows_args(struct mcp_request *r)
{
	_cleanup_json_ json_t *schema = r->tool->input(r->tool);
	const char *key;
	json_t *value;
	json_object_foreach(r->args, key, value)
	{
		if (json_object_get(json_object_get(schema, "properties"), key))
			continue;
		char text[300];
		snprintf(text, sizeof(text), "E_PARAMS: '%.200s' is no argument of %s", key,
			 r->tool->name);
		mcp_tool_error(r, text);
		return false;
	}
	return true;
}

void mcp_run_status(struct mcp_request *r)
{
	json_t *run = json_object_get(r->args, "run");
	if (!run_knows_args(r))
		return;
	if (!run || json_is_null(run)) {
		mcp_ask(r, "run.list", json_pack("{s:i}", "limit", 20), run_listed);
		return;
	}
	if (!json_is_integer(run)) {
		mcp_tool_error(r, "E_PARAMS: run: must be the run's number");
		return;
	}
	r->run = json_integer_value(run);
	r->wait_ms = run_wait_ms(r, 0);
	if (r->wait_ms)
		run_await(r);
	else
		run_show(r);
}

void mcp_run_cancel(struct mcp_request *r)
{
	r->run = get_int(r->args, "run");
	mcp_ask(r, "run.cancel", json_deep_copy(r->args), run_waited);
}

static void run_output_text(json_t *o, const json_t *result)
{
	_cleanup_buf_ struct buf bytes = BUF_INIT, base64 = BUF_INIT;
	bool lossy;
	mcp_bytes(json_object_get(result, "data"), &bytes);
	json_object_set_new(o, "text", mcp_lossy(buf_slice(&bytes), &lossy));
	json_object_set_new(o, "bytes", json_integer((json_int_t)bytes.len));
	if (lossy) {
		base64_encode(buf_slice(&bytes), &base64);
		json_object_set_new(o, "data_base64", json_stringn(base64.p, base64.len));
	}
	json_int_t size = get_int(result, "size");
	json_int_t after =
		get_int(result, "offset") + (json_int_t)bytes.len + get_int(result, "dropped");
	if (after < size)
		json_object_set_new(o, "next_offset", json_integer(after));
}

static void run_output_shown(struct mcp_request *r, json_t *result)
{
	static const char *const keys[] = { "offset", "size", "end", "dropped", NULL };
	json_t *o = json_pack("{s:O, s:O}", "run", json_object_get(r->args, "run"), "op",
			      json_object_get(r->args, "op"));
	for (size_t i = 0; keys[i]; i++)
		if (json_object_get(result, keys[i]))
			json_object_set(o, keys[i], json_object_get(result, keys[i]));
	run_output_text(o, result);
	mcp_structured(r, o);
}

void mcp_run_output(struct mcp_request *r)
{
	json_t *params = json_deep_copy(r->args);
	const char *const amount = json_object_get(params, "tail") ? "tail" : "limit";
	json_t *n = json_object_get(params, amount);
	if (!n || json_is_null(n))
		json_object_set_new(params, amount, json_integer(MCP_OUTPUT_DEFAULT));
	else if (json_is_integer(n) && json_integer_value(n) > MCP_OUTPUT_MAX)
		json_object_set_new(params, amount, json_integer(MCP_OUTPUT_MAX));
	mcp_ask(r, "run.output", params, run_output_shown);
}

/* ---- todos ---- */

static void todo_shown(struct mcp_request *r, json_t *result)
{
	mcp_structured(r, json_incref(result));
}

/* The params are the method's own. Which list: the one named, else BATCHD_LIST, else the project's.
 */
void mcp_todo(struct mcp_request *r)
{
	json_t *params = json_deep_copy(r->args);
	const char *list = getenv("BATCHD_LIST");
	if (list && *list && !json_object_get(params, "list") && !json_object_get(params, "cwd"))
		json_object_set_new(params, "list", json_bytes(slice_str(list)));
	mcp_ask(r, methods[r->tool->method].name, params, todo_shown);
}
