#include "daemon/rpc/rundoc.h"

#include "common/cleanup.h"
#include "daemon/engine/engine.h"
#include "daemon/rpc/logcache.h"
#include "daemon/rpc/rpc.h"
#include "daemon/rpc/shape.h"
#include "daemon/store/sql_read.h"

#define OP_BYTES 4096 /* an op's shape without output takes less */

void rundoc_init(struct rundoc *d, uint64_t run, bool omit_nil)
{
	*d = (struct rundoc){
		.run = run,
		.offset = 1,
		.limit = -1,
		.output = -1,
		.room = SHAPE_ROOM,
		.max_bytes = LIMIT_REPLY_BYTES - OP_BYTES,
		.pk = { .omit_nil = omit_nil },
	};
}

void rundoc_done(struct rundoc *d)
{
	buf_done(&d->b);
	logcache_put(d->log);
	d->log = NULL;
}

static void doc_begin(struct rundoc *d, const struct run_row *row)
{
	buf_clear(&d->b);
	d->pk = (struct pk){ .b = &d->b, .omit_nil = d->pk.omit_nil };
	d->state = row->state;
	d->ended = row->ended;
	d->n_ops = row->n_ops;
	d->next = 0;
	d->sent = 0;
	pk_map(&d->pk);
	shape_run_keys(&d->pk, row, d->room);
	pk_kint(&d->pk, "ops_total", row->n_ops);
}

static void doc_ops_begin(struct rundoc *d)
{
	if (d->ops == RUN_OPS_NONE)
		return;
	pk_key(&d->pk, "ops");
	pk_array(&d->pk);
}

static void doc_end(struct rundoc *d)
{
	if (d->ops != RUN_OPS_NONE)
		pk_end(&d->pk);
	pk_kint_or_nil(&d->pk, "next", d->next, d->next != 0);
}

/* The beginning and the end of what an op printed, each at most `room` bytes and neither across
 * what was dropped. */
static void doc_out(struct rundoc *d, const struct op_row *row, int64_t room, struct buf *data,
		    struct shape_out *ret)
{
	*ret = (struct shape_out){ .head = slice_of("", 0), .tail = slice_of("", 0) };
	int64_t printed = row->stdout_bytes + row->stderr_bytes;
	ret->dropped = printed;
	if (row->attempts == 0 || !d->log)
		return;
	if (!d->log_ready && logread_refresh(d->log) < 0)
		return;
	d->log_ready = true;
	struct logread_extent x = logread_extent(d->log, row->op, row->attempts, STREAM_BOTH);
	bool gap = x.gap_to > x.gap_from;
	int64_t at = 0, head_end = 0, tail_end = x.size;
	int64_t head = MIN2(room, gap ? x.gap_from : x.size);
	if (head > 0 && logread_read(d->log, row->op, row->attempts, STREAM_BOTH, 0, head, data,
				     NULL, &at, &head_end) < 0)
		return;
	size_t head_len = data->len;
	int64_t tail = MAX2(MAX2(x.size - room, head_end), gap ? x.gap_to : 0);
	if (tail < x.size && logread_read(d->log, row->op, row->attempts, STREAM_BOTH, tail,
					  x.size - tail, data, NULL, &at, &tail_end) < 0)
		data->len = head_len;
	ret->head = slice_of(data->len ? data->p : "", head_len);
	ret->tail = slice_of(data->len ? data->p + head_len : "", data->len - head_len);
	/* A log that is gone knows of nothing. */
	ret->dropped = MAX2(x.size, printed) - (int64_t)data->len;
}

/* Room for `out` of this op: all of it if that fits after what is there, for the first op at least
 * what fits. -1: none. */
static int64_t doc_room(const struct rundoc *d, const struct op_row *row)
{
	size_t kept = row->meta.len + (row->description ? strlen(row->description) : 0);
	int64_t left = (int64_t)d->max_bytes - (int64_t)d->b.len - OP_BYTES - (int64_t)kept;
	if (left < 0)
		return -1;
	if (d->output <= 0)
		return 0;
	bool counted = op_state_ended(row->state);
	int64_t need = counted ? MIN2(row->stdout_bytes + row->stderr_bytes, 2 * d->output)
			       : 2 * d->output;
	if (need <= left)
		return d->output;
	return d->sent ? -1 : left / 2;
}

/* False: it has no room; the next page begins with it. The first of a page is always sent, and if
 * need be without its meta. */
static bool doc_op(struct rundoc *d, const struct op_row *shown)
{
	_cleanup_buf_ struct buf data = BUF_INIT;
	struct op_row op = *shown, *row = &op;
	/* What is as large as half a reply; and as deep as meta may be among several runs, it would
	 * be deeper than LIMIT_DEPTH_OUT. */
	if (row->meta.len > d->room / 2 || d->room != SHAPE_ROOM)
		row->meta = SLICE_NONE;
	struct shape_out out;
	int64_t room = doc_room(d, row);
	if (room < 0 && d->sent == 0) {
		row->meta = SLICE_NONE;
		room = doc_room(d, row);
	}
	if (room < 0 || (d->limit >= 0 && d->sent >= (uint64_t)d->limit)) {
		d->next = row->op;
		return false;
	}
	if (d->output >= 0)
		doc_out(d, row, room, &data, &out);
	shape_op(&d->pk, row, d->output >= 0 ? &out : NULL);
	d->sent++;
	return true;
}

/* --- live --- */

static bool op_failed(enum op_state s)
{
	return s == OP_FAILED || s == OP_CANCELLED || s == OP_INTERRUPTED;
}

/* What a running op has printed so far is what its log holds. */
static void doc_live_sizes(struct rundoc *d, struct rpc_server *s, struct op_row *row)
{
	if (row->state != OP_RUNNING || row->attempts == 0)
		return;
	if (!d->log)
		d->log = logcache_take(s->logs, d->run);
	if (!d->log_ready && logread_refresh(d->log) < 0)
		return;
	d->log_ready = true;
	struct logread_extent both = logread_extent(d->log, row->op, row->attempts, STREAM_BOTH);
	row->stdout_bytes = logread_extent(d->log, row->op, row->attempts, STREAM_STDOUT).size;
	row->stderr_bytes = logread_extent(d->log, row->op, row->attempts, STREAM_STDERR).size;
	row->dropped_bytes = both.gap_to - both.gap_from;
}

static void doc_live_ops(struct rundoc *d, struct rpc_server *s)
{
	struct engine *e = s->config.engine;
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct op_row row;
	for (int64_t op = MAX2(d->offset, 1); op <= d->n_ops; op++) {
		if (!engine_op_row(e, d->run, (uint32_t)op, &text, &row))
			return;
		if (d->ops == RUN_OPS_FAILED && !op_failed(row.state))
			continue;
		doc_live_sizes(d, s, &row);
		if (!doc_op(d, &row))
			return;
	}
}

bool rundoc_live(struct rundoc *d, struct rpc_server *s)
{
	_cleanup_buf_ struct buf messages = BUF_INIT;
	struct engine *e = s->config.engine;
	struct run_row row;
	if (!engine_run_row(e, d->run, &row))
		return false;
	if (engine_run_messages(e, d->run, &messages))
		row.messages = buf_slice(&messages);
	if (d->output >= 0)
		d->log = logcache_take(s->logs, d->run);
	doc_begin(d, &row);
	if (d->env_names)
		pk_knil(&d->pk, "env_names");
	doc_ops_begin(d);
	if (d->ops != RUN_OPS_NONE)
		doc_live_ops(d, s);
	doc_end(d);
	return true;
}

/* --- stored --- */

static bool doc_stored_op(void *arg, const struct op_row *row)
{
	struct rundoc *d = arg;
	return row->op < d->offset || doc_op(d, row);
}

/* Before the ops, which take what is left; nil where these are too many. */
static int doc_env_names(struct rundoc *d, struct sql_reader *r)
{
	_cleanup_buf_ struct buf names = BUF_INIT, packed = BUF_INIT;
	struct pk pk = { .b = &packed };
	if (sql_run_env_names(r, d->run, &names, &d->err))
		return 1;
	pk_array(&pk);
	for (const char *p = names.p, *end = p + names.len; p && p < end; p += strlen(p) + 1)
		pk_text(&pk, slice_str(p));
	pk_end(&pk);
	pk_kraw(&d->pk, "env_names", packed.len <= d->room / 8 ? buf_slice(&packed) : SLICE_NONE);
	return 0;
}

void rundoc_stored(struct rundoc *d, struct sql_reader *r)
{
	static const enum sql_ops which[] = { [RUN_OPS_ALL] = SQL_OPS_ALL,
					      [RUN_OPS_FAILED] = SQL_OPS_FAILED,
					      [RUN_OPS_NONE] = SQL_OPS_NONE };
	_cleanup_buf_ struct buf strings = BUF_INIT;
	struct run_row row;
	d->failed = sql_run_get(r, d->run, &row, &strings, &d->err) != 0;
	if (d->failed)
		return;
	doc_begin(d, &row);
	d->failed = d->env_names && doc_env_names(d, r);
	doc_ops_begin(d);
	uint32_t skip = d->ops == RUN_OPS_ALL && d->offset > 1
				? (uint32_t)MIN2(d->offset - 1, UINT32_MAX)
				: 0;
	if (d->ops != RUN_OPS_NONE && !d->failed)
		d->failed = sql_ops_list(r, d->run, which[d->ops], skip, 0, doc_stored_op, d,
					 &d->err) != 0;
	doc_end(d);
}
