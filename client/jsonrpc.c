#include "client/jsonrpc.h"

#include <assert.h>
#include <string.h>

#include "client/json.h"
#include "common/text.h"
#include "proto/errors.h"

#define JR_TEXT_MAX 4096

/* On the wire: never renumber. -32002 and what is below -32019 has meanings of its own in MCP and
 * LSP. */
static const int codes[] = {
	[E_NONE] = JR_NO_DAEMON, [E_PARAMS] = JR_PARAMS, [E_METHOD] = JR_METHOD,
	[E_UTF8] = -32010,	 [E_LIMIT] = -32011,	 [E_NOT_FOUND] = -32012,
	[E_CONFLICT] = -32013,	 [E_KEY] = -32014,	 [E_STATE] = -32015,
	[E_VERSION] = -32016,	 [E_BUSY] = -32017,	 [E_STORAGE] = -32018,
	[E_MEMORY] = -32019,	 [E_DENIED] = -32009,	 [E_INTERNAL] = JR_INTERNAL,
};
static_assert(ARRAY_SIZE(codes) == E_SYMBOL_MAX, "each symbol has its code");

static bool jr_is_id(const json_t *id)
{
	return json_is_string(id) || json_is_number(id) || json_is_null(id);
}

enum jr_got jr_read(const json_t *message, struct jr_call *ret)
{
	const json_t *version = json_object_get(message, "jsonrpc");
	const json_t *method = json_object_get(message, "method");
	const json_t *id = json_object_get(message, "id");
	*ret = (struct jr_call){ .id = jr_is_id(id) ? id : NULL,
				 .method = json_string_value(method),
				 .params = json_object_get(message, "params") };
	bool sound = json_is_string(version) && strcmp(json_string_value(version), "2.0") == 0 &&
		     (!id || ret->id);
	if (sound && !method &&
	    (json_object_get(message, "result") || json_object_get(message, "error")))
		return JR_REPLY;
	if (!sound || !ret->method || strlen(ret->method) != json_string_length(method))
		return JR_INVALID;
	if (ret->params && !json_is_object(ret->params) && !json_is_array(ret->params))
		return JR_INVALID;
	return JR_CALL;
}

static void jr_begin(struct buf *b, const json_t *id)
{
	buf_adds(b, "{\"jsonrpc\": \"2.0\", \"id\": ");
	if (id)
		json_print(id, JSON_LINE, b);
	else
		buf_adds(b, "null");
}

void jr_result(struct buf *b, const json_t *id)
{
	jr_begin(b, id);
	buf_adds(b, ", \"result\": ");
}

void jr_end(struct buf *b)
{
	buf_addc(b, '}');
}

void jr_error(struct buf *b, const json_t *id, int code, const char *text, const char *data)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	text_one_line(&line, slice_str(text), JR_TEXT_MAX);
	jr_begin(b, id);
	buf_addf(b, ", \"error\": {\"code\": %d, \"message\": ", code);
	json_print_bytes(buf_slice(&line), b);
	if (data)
		buf_addf(b, ", \"data\": %s", data);
	buf_adds(b, "}}");
}

void jr_error_of(struct buf *b, const json_t *id, const struct err *e)
{
	char data[64];
	int sym = e->sym > E_NONE && e->sym < E_SYMBOL_MAX ? e->sym : E_NONE;
	snprintf(data, sizeof(data), sym ? "{\"symbol\": \"%s\"}" : "{\"symbol\": null}",
		 err_symbol_name(sym));
	jr_error(b, id, codes[sym], e->text, data);
}

void jr_notification(struct buf *b, struct slice method)
{
	buf_adds(b, "{\"jsonrpc\": \"2.0\", \"method\": ");
	json_print_bytes(method, b);
	buf_adds(b, ", \"params\": ");
}
