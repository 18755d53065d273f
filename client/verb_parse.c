/* batchctl parse, batchctl fmt: a batch file as JSON, and in canonical notation. Neither needs a
 * daemon. */
#include "client/ctx.h"
#include "client/json.h"
#include "client/notation.h"
#include "client/submit.h"

static int parse_read(struct ctx *c, const struct parse_options *o, json_t **ret)
{
	return submit_read(c, &o->reading, c->argc > 0 ? c->argv[0] : NULL, ret);
}

int verb_parse(struct ctx *c, void *options)
{
	_cleanup_json_ json_t *batch = NULL;
	_cleanup_buf_ struct buf out = BUF_INIT;
	int status = parse_read(c, options, &batch);
	if (status)
		return status;
	json_print(batch, JSON_PRETTY, &out);
	buf_addc(&out, '\n');
	return ctx_print(c, &out);
}

int verb_fmt(struct ctx *c, void *options)
{
	_cleanup_json_ json_t *batch = NULL;
	_cleanup_buf_ struct buf out = BUF_INIT;
	int status = parse_read(c, options, &batch);
	if (status)
		return status;
	notation_print(batch, &out);
	return ctx_print(c, &out);
}
