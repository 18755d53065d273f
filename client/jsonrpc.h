/*
 * JSON-RPC 2.0 (https://www.jsonrpc.org/specification): what a message asks, and the text of what
 * answers it. Ids are given back as they came.
 */
#ifndef CLIENT_JSONRPC_H
#define CLIENT_JSONRPC_H

#include <jansson.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/slice.h"

enum jr_code {
	JR_PARSE = -32700,
	JR_REQUEST = -32600,
	JR_METHOD = -32601,
	JR_PARAMS = -32602,
	JR_INTERNAL = -32603,
	JR_NO_DAEMON = -32000,
};

/* A request or a notification. Borrows from the message. */
struct jr_call {
	const json_t *id; /* NULL: a notification */
	const char *method;
	const json_t *params; /* NULL: none */
};

enum jr_got {
	JR_CALL,
	JR_REPLY,   /* to a request of ours */
	JR_INVALID, /* JSON, but not JSON-RPC: ret->id is filled where there is one */
};

enum jr_got jr_read(const json_t *message, struct jr_call *ret);

/*
 * A reply in the making: jr_result, then JSON text of the result, then jr_end. Keys and
 * punctuation are as json_print has them.
 */
void jr_result(struct buf *b, const json_t *id);
void jr_end(struct buf *b);
/* `id` NULL: null, where the request could not be read. `text` is made fit for JSON; `data` (JSON
 * text) may be NULL. */
void jr_error(struct buf *b, const json_t *id, int code, const char *text, const char *data);
/* An error of batchd's: the code of its symbol, its text as it came, data {"symbol": "E_..."}.
 * E_NONE, for what did not come from batchd: JR_NO_DAEMON, symbol null. */
void jr_error_of(struct buf *b, const json_t *id, const struct err *e);
/* A notification whose params follow as JSON text, then jr_end. */
void jr_notification(struct buf *b, struct slice method);

#endif
