/*
 * Subscriptions to resources. Until 2025-11-25 each URI is subscribed to; later, streams are
 * listened to that name several, and every message of a stream carries its id. What changes in one
 * turn of the loop is told once.
 */
#include <stdlib.h>
#include <string.h>

#include "client/jsonrpc.h"
#include "client/mcp.h"
#include "common/xalloc.h"

#define SUBSCRIPTION_ID "io.modelcontextprotocol/subscriptionId"

/* One URI that is watched. */
struct watch {
	struct list list;
	char *uri;
	struct mcp_request *stream; /* that watches it; NULL: resources/subscribe */
	int64_t sub;
	bool changed;
};

static void watch_free(struct mcp *m, struct watch *w)
{
	if (w->sub)
		mcp_tell(m, "rpc.unsubscribe", json_pack("{s:I}", "sub", (json_int_t)w->sub));
	list_del(&w->list);
	free(w->uri);
	free(w);
}

static struct watch *watch_new(struct mcp *m, const char *uri, struct mcp_request *stream)
{
	struct watch *w = xcalloc(1, sizeof(*w));
	w->uri = xstrdup(uri);
	w->stream = stream;
	list_add_tail(&m->watches, &w->list);
	return w;
}

bool mcp_watch_event(struct mcp *m, int64_t sub, json_t *event)
{
	bool found = false;
	list_for (&m->watches, node) {
		struct watch *w = list_entry(node, struct watch, list);
		struct mcp_place at;
		if (w->sub != sub || !mcp_place(w->uri, &at))
			continue;
		json_int_t op = json_integer_value(json_object_get(event, "op"));
		/* Of an op's output only what concerns that op; of a run all but output. */
		w->changed |= at.kind != PLACE_OUTPUT || op == 0 || op == at.op;
		free(at.list);
		found = true;
	}
	return found;
}

void mcp_watch_flush(struct mcp *m)
{
	list_for (&m->watches, node) {
		struct watch *w = list_entry(node, struct watch, list);
		/* The first message of a stream acknowledges it. */
		if (!w->changed || (w->stream && w->stream->next))
			continue;
		w->changed = false;
		json_t *params = json_pack("{s:s}", "uri", w->uri);
		if (w->stream)
			json_object_set_new(params, "_meta",
					    json_pack("{s:O}", SUBSCRIPTION_ID, w->stream->id));
		mcp_notify(m, "notifications/resources/updated", params);
	}
}

static void watch_ask(struct mcp_request *r, const char *uri,
		      void (*next)(struct mcp_request *r, json_t *result))
{
	struct mcp_place at;
	mcp_place(uri, &at);
	free(r->uri);
	r->uri = xstrdup(uri);
	if (at.kind == PLACE_TODOS)
		mcp_ask(r, "todo.subscribe", json_pack("{s:s}", "list", at.list), next);
	else if (at.kind == PLACE_RUN)
		mcp_ask(r, "run.subscribe", json_pack("{s:I}", "run", (json_int_t)at.run), next);
	else
		mcp_ask(r, "run.subscribe",
			json_pack("{s:I, s:s, s:i}", "run", (json_int_t)at.run, "output", "sizes",
				  "since", 0),
			next);
	free(at.list);
}

/* ---- until 2025-11-25 ---- */

static void watch_subscribed(struct mcp_request *r, json_t *result)
{
	struct watch *w = watch_new(r->m, r->uri, NULL);
	w->sub = json_integer_value(json_object_get(result, "sub"));
	mcp_result(r, json_object());
}

static struct watch *watch_find(struct mcp *m, const char *uri)
{
	list_for (&m->watches, node) {
		struct watch *w = list_entry(node, struct watch, list);
		if (!w->stream && strcmp(w->uri, uri) == 0)
			return w;
	}
	return NULL;
}

static bool watch_is_place(const char *uri)
{
	struct mcp_place at;
	bool known = mcp_place(uri, &at);
	free(at.list);
	return known;
}

void mcp_subscribe(struct mcp_request *r)
{
	const char *uri = json_string_value(json_object_get(r->params, "uri"));
	if (!watch_is_place(uri))
		mcp_no_resource(r, uri);
	else if (watch_find(r->m, uri))
		mcp_result(r, json_object());
	else
		watch_ask(r, uri, watch_subscribed);
}

void mcp_unsubscribe(struct mcp_request *r)
{
	const char *uri = json_string_value(json_object_get(r->params, "uri"));
	struct watch *w = uri ? watch_find(r->m, uri) : NULL;
	if (w)
		watch_free(r->m, w);
	mcp_result(r, json_object());
}

/* ---- since 2026-07-28 ---- */

void mcp_watch_forget(struct mcp *m, const struct mcp_request *stream)
{
	list_for_safe (&m->watches, node) {
		struct watch *w = list_entry(node, struct watch, list);
		if (w->stream == stream)
			watch_free(m, w);
	}
}

static void listen_next(struct mcp_request *r);

static void listen_subscribed(struct mcp_request *r, json_t *result)
{
	struct watch *w = watch_new(r->m, r->uri, r);
	w->sub = json_integer_value(json_object_get(result, "sub"));
	if (r->cancelled)
		mcp_request_free(r);
	else
		listen_next(r);
}

/* Names what is watched, and is the first message of the stream. */
static void listen_acknowledge(struct mcp_request *r)
{
	json_t *filter = json_object();
	json_t *uris = json_object_get(json_object_get(r->params, "notifications"),
				       "resourceSubscriptions");
	if (uris)
		json_object_set(filter, "resourceSubscriptions", uris);
	mcp_notify(r->m, "notifications/subscriptions/acknowledged",
		   json_pack("{s:o, s:{s:O}}", "notifications", filter, "_meta", SUBSCRIPTION_ID,
			     r->id));
}

/* One URI after the other; `total` counts those that are watched. */
static void listen_next(struct mcp_request *r)
{
	const json_t *uris = json_object_get(json_object_get(r->params, "notifications"),
					     "resourceSubscriptions");
	if ((size_t)r->total == json_array_size(uris)) {
		r->next = NULL;
		listen_acknowledge(r);
		return;
	}
	const char *uri = json_string_value(json_array_get(uris, (size_t)r->total++));
	if (watch_is_place(uri)) {
		watch_ask(r, uri, listen_subscribed);
		return;
	}
	mcp_no_resource(r, uri);
}

void mcp_listen(struct mcp_request *r)
{
	if (!json_is_object(json_object_get(r->params, "notifications"))) {
		mcp_error(r, JR_PARAMS, "notifications: names what to be told of", NULL);
		return;
	}
	listen_next(r);
}

/* It is answered only by its end. */
static bool listen_is(const struct mcp_request *r)
{
	return json_object_get(r->params, "notifications") && !r->tool;
}

bool mcp_listen_cancel(struct mcp *m, const json_t *id)
{
	list_for (&m->requests, node) {
		struct mcp_request *r = list_entry(node, struct mcp_request, list);
		if (!listen_is(r) || !json_equal(r->id, id))
			continue;
		r->cancelled = true;
		if (r->next) /* it is being subscribed for */
			return true;
		mcp_request_free(r);
		return true;
	}
	return false;
}

void mcp_watch_done(struct mcp *m)
{
	list_for_safe (&m->requests, node) {
		struct mcp_request *r = list_entry(node, struct mcp_request, list);
		if (!listen_is(r) || r->next)
			continue;
		mcp_result(r, json_pack("{s:{s:O}}", "_meta", SUBSCRIPTION_ID, r->id));
	}
	list_for_safe (&m->watches, node) {
		struct watch *w = list_entry(node, struct watch, list);
		if (!w->stream)
			watch_free(m, w);
	}
}
