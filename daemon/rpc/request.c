#include "daemon/rpc/request.h"

#include "daemon/rpc/rpc.h"
#include "proto/mp.h"

enum frame_type { FRAME_REQUEST, FRAME_RESPONSE, FRAME_NOTIFICATION };

/* An int; an integral float counts as one. */
static bool take_int(struct mp *m, int64_t max, int64_t *ret)
{
	struct mp_value v = mp_next(m);
	if (v.type == MP_FLOAT && v.f >= 0 && v.f <= (double)max && v.f == (double)(int64_t)v.f)
		v = (struct mp_value){ .type = MP_INT, .i = (int64_t)v.f };
	*ret = v.i;
	return v.type == MP_INT && v.i >= 0 && v.i <= max;
}

/* A name is a str; pynvim greets with one that is bin. The params are all that follows. */
static bool take_method(struct mp *m, struct request *ret)
{
	struct mp_value name = mp_next(m);
	if (name.type != MP_STR && name.type != MP_BIN)
		return false;
	ret->name = name.bytes;
	ret->params = slice_of(m->p, (size_t)(m->end - m->p));
	ret->method = method_find(ret->name);
	return true;
}

enum request_read request_read(struct slice frame, struct request *ret)
{
	struct mp m = mp_of(frame);
	struct mp_value array = mp_next(&m);
	int64_t type, msgid = 0;
	*ret = (struct request){ .kind = CALL_REQUEST };
	if (array.type != MP_ARRAY || !take_int(&m, FRAME_NOTIFICATION, &type) ||
	    array.count != (type == FRAME_NOTIFICATION ? 3 : 4))
		return REQUEST_BAD;
	if (type != FRAME_NOTIFICATION && !take_int(&m, UINT32_MAX, &msgid))
		return REQUEST_BAD;
	if (type == FRAME_RESPONSE)
		return REQUEST_ANSWER;
	if (!take_method(&m, ret))
		return REQUEST_BAD;
	ret->msgid = (uint32_t)msgid;
	if (type == FRAME_REQUEST)
		return REQUEST_CALL;
	if (!ret->method)
		return REQUEST_NOTHING;
	ret->kind = ret->method->id == METHOD_RPC_ASYNC ? CALL_ASYNC : CALL_NOTIFY;
	return REQUEST_CALL;
}

/* A method's params as the map itself, or none: made into the array that method_decode expects. */
static void async_params(struct slice params, struct buf *b)
{
	struct mp m = mp_of(params);
	if (params.p && mp_peek(&m) == MP_ARRAY) {
		buf_addslice(b, params);
		return;
	}
	buf_addc(b, (char)(params.p ? 0x91 : 0x90));
	buf_addslice(b, params);
}

void request_unwrap(struct request *q)
{
	const struct params_rpc_async *a = (const void *)q->decoded;
	if (q->kind != CALL_ASYNC)
		return;
	if (method_decode(q->method, q->params, q->decoded, &q->err)) {
		q->bad_async = true;
		return;
	}
	async_params(a->params, &q->wrapped);
	q->name = a->method;
	q->push = a->push;
	q->params = buf_slice(&q->wrapped);
	q->method = method_find(q->name);
}

void request_open(struct request *q, const struct rpc_config *config)
{
	if (q->row)
		return;
	q->row = &config->handlers[q->method->id];
	q->refused = method_decode(q->method, q->params, q->decoded, &q->err);
	if (!q->refused && q->row->open)
		q->prepared = q->row->open(config, q->decoded);
}

void request_done(struct request *q)
{
	if (q->prepared)
		q->row->drop(q->prepared);
	buf_done(&q->wrapped);
}
