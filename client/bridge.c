#include "client/bridge.h"

#include <errno.h>
#include <string.h>

#include "client/json.h"
#include "client/jsonrpc.h"
#include "client/link.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "proto/errors.h"
#include "proto/mp.h"

/* With so much unread nothing more is taken from batchd, which then drops events, and no more
 * requests from the reader. */
#define BRIDGE_BACKLOG_BYTES (8u << 20)

struct bridge {
	struct frames frames;
	struct link *link;
	bool refused; /* the framing was lost: all that follows is too */
};

/* The answers of an array of calls, which go out as one array when the last is there. */
struct bridge_batch {
	size_t waiting;
	struct buf answers;
};

struct bridge_call {
	struct bridge *b;
	struct bridge_batch *batch; /* or NULL */
	json_t *id;
};

static void bridge_put(struct bridge *b, struct bridge_batch *batch, struct slice text)
{
	if (!batch) {
		frames_put(&b->frames, text);
		return;
	}
	buf_adds(&batch->answers, batch->answers.len ? ", " : "[");
	buf_addslice(&batch->answers, text);
}

static void bridge_batch_release(struct bridge *b, struct bridge_batch *batch)
{
	if (!batch || --batch->waiting)
		return;
	if (batch->answers.len) {
		buf_addc(&batch->answers, ']');
		frames_put(&b->frames, buf_slice(&batch->answers));
	}
	buf_done(&batch->answers);
	free(batch);
}

static void bridge_error(struct bridge *b, struct bridge_batch *batch, const json_t *id, int code,
			 const char *text)
{
	_cleanup_buf_ struct buf out = BUF_INIT;
	jr_error(&out, id, code, text, NULL);
	bridge_put(b, batch, buf_slice(&out));
}

static void bridge_answer(void *arg, struct slice result, const struct err *e)
{
	struct bridge_call *call = arg;
	_cleanup_buf_ struct buf out = BUF_INIT;
	if (e) {
		jr_error_of(&out, call->id, e);
	} else {
		jr_result(&out, call->id);
		json_print_mp(result, JSON_LINE, &out);
		jr_end(&out);
	}
	bridge_put(call->b, call->batch, buf_slice(&out));
	bridge_batch_release(call->b, call->batch);
	json_decref(call->id);
	free(call);
}

/* The one map is the params, as in a request; anything else are positional ones. */
static void bridge_push(void *arg, struct slice method, struct slice args, struct slice event)
{
	struct bridge *b = arg;
	_cleanup_buf_ struct buf out = BUF_INIT;
	jr_notification(&out, method);
	json_print_mp(event.p ? event : args, JSON_LINE, &out);
	jr_end(&out);
	frames_put(&b->frames, buf_slice(&out));
}

/* {...}, [{...}] and [] are the params of the wire. 0 with the packed map (nothing: none), or 1. */
static int bridge_params(const json_t *params, struct buf *ret, struct err *e)
{
	if (json_is_array(params) && json_array_size(params) > 1)
		return err_set(e, E_PARAMS, "E_PARAMS: params are one object");
	if (json_is_array(params))
		params = json_array_get(params, 0);
	return params ? json_to_mp(params, ret, e) : 0;
}

static void bridge_notify(struct bridge *b, const struct jr_call *call)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	if (bridge_params(call->params, &params, NULL) == 0)
		link_notify(b->link, call->method, params.len ? buf_slice(&params) : SLICE_NONE);
}

static void bridge_request(struct bridge *b, struct bridge_batch *batch,
			   const struct jr_call *request)
{
	_cleanup_buf_ struct buf params = BUF_INIT;
	struct err e = ERR_INIT;
	if (bridge_params(request->params, &params, &e)) {
		bridge_error(b, batch, request->id, JR_PARAMS, e.text);
		return;
	}
	struct bridge_call *call = xcalloc(1, sizeof(*call));
	*call = (struct bridge_call){ .b = b,
				      .batch = batch,
				      .id = json_copy((json_t *)request->id) };
	if (batch)
		batch->waiting++;
	link_call(b->link, request->method, params.len ? buf_slice(&params) : SLICE_NONE,
		  bridge_answer, call);
}

static void bridge_one(struct bridge *b, struct bridge_batch *batch, const json_t *message)
{
	struct jr_call call;
	switch (jr_read(message, &call)) {
	case JR_CALL:
		if (call.id)
			bridge_request(b, batch, &call);
		else
			bridge_notify(b, &call);
		break;
	case JR_REPLY: /* we ask nothing */
		break;
	case JR_INVALID:
		bridge_error(b, batch, call.id, JR_REQUEST,
			     "not a request: {\"jsonrpc\": \"2.0\", \"id\": ..., \"method\": "
			     "\"noun.verb\", \"params\": {...}}");
		break;
	}
}

static void bridge_array(struct bridge *b, const json_t *messages)
{
	struct bridge_batch *batch = xcalloc(1, sizeof(*batch));
	json_t *one;
	size_t i;
	batch->waiting = 1; /* ourselves */
	json_array_foreach(messages, i, one) bridge_one(b, batch, one);
	bridge_batch_release(b, batch);
}

static void bridge_message(struct bridge *b, struct slice text)
{
	_cleanup_json_ json_t *message = NULL;
	struct err e = ERR_INIT;
	if (json_read(text, "message", &message, &e))
		bridge_error(b, NULL, NULL, JR_PARSE, e.text);
	else if (json_is_array(message) && json_array_size(message) > 0)
		bridge_array(b, message);
	else
		bridge_one(b, NULL, message);
}

static void bridge_take(struct bridge *b)
{
	struct slice text;
	struct err e = ERR_INIT;
	enum frames_got got;
	while ((got = frames_next(&b->frames, &text, &e)) != FRAMES_NONE) {
		if (got == FRAMES_ONE)
			bridge_message(b, text);
		else
			bridge_error(b, NULL, NULL, JR_PARSE, e.text);
		b->refused = b->frames.broken;
	}
}

static bool bridge_is_over(const struct bridge *b)
{
	bool asked_all = b->frames.eof || b->frames.broken;
	return b->frames.gone ||
	       (asked_all && link_pending(b->link) == 0 && frames_backlog(&b->frames) == 0);
}

static void bridge_turn(struct bridge *b)
{
	struct pollfd fds[3];
	bool reading = frames_backlog(&b->frames) < BRIDGE_BACKLOG_BYTES;
	frames_poll(&b->frames, reading, fds);
	link_poll(b->link, reading, &fds[2]);
	int64_t deadline = link_deadline(b->link);
	int wait = deadline < 0 ? -1 : (int)MAX2(deadline - time_mono_ms(), 0);
	if (poll(fds, 3, wait) < 0)
		return; /* EINTR */
	frames_ready(&b->frames, fds);
	bridge_take(b);
	link_step(b->link, reading);
}

int bridge_serve(struct ctx *c, enum framing framing, bool may_start)
{
	struct bridge b = { 0 };
	frames_init(&b.frames, framing);
	b.link = link_new(c, may_start, bridge_push, &b);
	while (!bridge_is_over(&b))
		bridge_turn(&b);
	link_free(b.link);
	frames_done(&b.frames);
	if (b.refused)
		return fail(c, EXIT_USAGE, "what came on stdin is no message of this framing");
	return EXIT_OK;
}
