/*
 * run.output: which op and which try is asked of the engine or the store; the bytes are read on a
 * worker, since an old log may not be in memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/text.h"
#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/engine/engine.h"
#include "daemon/exec/work.h"
#include "daemon/rpc/logcache.h"
#include "daemon/rpc/rpc.h"
#include "daemon/store/sql_read.h"
#include "daemon/store/store.h"

#define CHUNKS_MAX 16384  /* of one answer: each takes up to 20 bytes of it */
#define OUTPUTS_AT_ONCE 8 /* of all connections: each is up to LIMIT_OUTPUT_MAX in memory */

struct output_job {
	struct list list; /* server->outputs */
	struct rpc_call *call;
	struct params_run_output p; /* but for p.op.id, which is `id` */
	char *id;
	uint32_t op, attempt;
	bool op_ended;	  /* this try will print no more */
	bool printed;	  /* it is known to have printed something */
	int64_t known[3]; /* by stream: bytes it has printed, 0 while that is not known */
	bool again;	  /* looked up a second time, since nothing was found of that */
	struct logread *log;
	struct buf data, chunks;
	int64_t offset, next, size; /* where it begins as asked, where the next page does */
	int64_t gap;		    /* where within it the dropped bytes would stand; -1: nowhere */
	/* Of stdout and stderr, where `offset` is over both; and of the dropped bytes. */
	int64_t starts[2], dropped[2];
	struct err err;
};

static void output_free_job(struct output_job *j)
{
	logcache_put(j->log);
	buf_done(&j->data);
	buf_done(&j->chunks);
	free(j->id);
	free(j);
}

static void output_fail(struct output_job *j)
{
	rpc_fail(j->call, &j->err);
	output_free_job(j);
}

/* --- the answer --- */

static void pack_chunks(struct pk *pk, const struct buf *chunks)
{
	const struct logread_chunk *c = (const void *)chunks->p;
	pk_key(pk, "chunks");
	pk_array(pk);
	for (size_t i = 0; i < chunks->len / sizeof(*c); i++) {
		pk_array(pk);
		pk_int(pk, c[i].time_ms);
		pk_int(pk, c[i].stream);
		pk_int(pk, c[i].bytes);
		pk_end(pk);
	}
	pk_end(pk);
}

static void pack_pair(struct pk *pk, const char *key, const int64_t pair[2])
{
	pk_key(pk, key);
	pk_array(pk);
	pk_int(pk, pair[0]);
	pk_int(pk, pair[1]);
	pk_end(pk);
}

static void output_find_stored(struct sql_reader *r, void *arg);
static void output_found_stored(void *arg);
static void output_next(struct rpc_server *s);

static void output_done_job(void *arg)
{
	struct output_job *j = arg;
	struct rpc_server *s = j->call->s;
	struct buf b = BUF_INIT;
	output_next(s);
	if (j->err.sym == E_NOT_FOUND && !j->again && !s->freed) {
		/* It was dropped between the two looks: the row says so by now. */
		j->again = true;
		logcache_put(j->log);
		j->log = NULL;
		store_read(s->config.store, output_find_stored, output_found_stored, j);
		return;
	}
	if (j->err.sym) {
		output_fail(j);
		return;
	}
	struct pk pk = rpc_pk(j->call, &b);
	pk_map(&pk);
	pk_key(&pk, "data");
	pk_bin(&pk, buf_slice(&j->data));
	pk_kint(&pk, "offset", j->offset);
	pk_kint(&pk, "size", j->size);
	pk_kbool(&pk, "end", j->op_ended && j->next >= j->size);
	pk_kint(&pk, "dropped", j->next - j->offset - (int64_t)j->data.len);
	pk_kint_or_nil(&pk, "gap", j->gap, j->gap >= 0);
	pk_kint(&pk, "attempt", j->attempt);
	if (j->p.stream == STREAM_BOTH) {
		pack_pair(&pk, "starts", j->starts);
		pack_pair(&pk, "dropped_each", j->dropped);
		pack_chunks(&pk, &j->chunks);
	}
	pk_end(&pk);
	rpc_reply(j->call, &b);
	output_free_job(j);
}

/* --- reading, on a worker --- */

/* Where to begin, or -errno. What is asked for from the end ends there, also when it is more than
 * one answer holds; who wants no bytes (limit 0) is only told where it begins. */
static int64_t output_start(struct output_job *j)
{
	const struct params_run_output *p = &j->p;
	if (p->lines < 0 && p->tail < 0)
		return MAX2(p->offset, 0);
	int64_t start = MAX2(j->size - p->tail, 0);
	if (p->lines >= 0)
		start = logread_tail_lines(j->log, j->op, j->attempt, p->stream, p->lines);
	return start < 0 || !p->limit ? start : MAX2(start, j->size - p->limit);
}

static int output_fetch(struct output_job *j, int64_t limit)
{
	int64_t from;
	buf_clear(&j->data);
	buf_clear(&j->chunks);
	return logread_read(j->log, j->op, j->attempt, j->p.stream, j->offset, limit, &j->data,
			    &j->chunks, &from, &j->next);
}

/*
 * Where the dropped middle stands in this page. One that begins where the page ends belongs to it:
 * whoever goes on at offset + data + dropped then never asks for what is gone.
 */
static void output_gap(struct output_job *j)
{
	struct logread_extent x = logread_extent(j->log, j->op, j->attempt, j->p.stream);
	if (x.gap_to <= x.gap_from || j->offset >= x.gap_to || j->next < x.gap_from)
		return;
	j->gap = MAX2(x.gap_from, j->offset);
	j->next = MAX2(j->next, x.gap_to);
}

/* Very many small pieces: only the first of them fit the answer, and the bytes that go with them.
 */
static void output_cut(struct output_job *j)
{
	const struct logread_chunk *c = (const void *)j->chunks.p;
	size_t n = j->chunks.len / sizeof(*c), bytes = 0;
	if (n <= CHUNKS_MAX)
		return;
	for (size_t i = 0; i < CHUNKS_MAX; i++)
		bytes += (size_t)c[i].bytes;
	/* Read again to the exact end: a dropped middle may lie before or after it. */
	if (output_fetch(j, (int64_t)bytes) < 0)
		err_set(&j->err, E_STORAGE, "cannot read the output again");
}

/* Where the page begins in each stream, and what of each is not in it. */
static void output_streams(struct output_job *j)
{
	const struct logread_chunk *c = (const void *)j->chunks.p;
	for (int i = 0; i < 2; i++) {
		int stream = STREAM_STDOUT + i;
		j->starts[i] = logread_stream_at(j->log, j->op, j->attempt, stream, j->offset);
		j->dropped[i] = logread_stream_at(j->log, j->op, j->attempt, stream, j->next) -
				j->starts[i];
	}
	for (size_t i = 0; i < j->chunks.len / sizeof(*c); i++)
		j->dropped[c[i].stream == STREAM_STDERR] -= c[i].bytes;
}

/* It was printed, and nothing of it is found: dropped by somebody with both of its files, or is
 * what is there no longer what was written? */
static void output_missing(struct output_job *j)
{
	const char *dir = j->call->s->config.runs_dir;
	_cleanup_free_ char *idx = xasprintf("%s/%" PRId64 ".idx", dir, j->p.run);
	_cleanup_free_ char *log = xasprintf("%s/%" PRId64 ".log", dir, j->p.run);
	bool no_idx = access(idx, F_OK) < 0, no_log = access(log, F_OK) < 0;
	if (no_idx && no_log)
		err_set(&j->err, E_NOT_FOUND, "the output of run %" PRId64 " is no longer there",
			j->p.run);
	else if (no_idx || no_log)
		err_set(&j->err, E_STORAGE,
			"the output of run %" PRId64 " is damaged: '%s' is missing; put it back "
			"from a copy",
			j->p.run, no_idx ? idx : log);
	else
		err_set(&j->err, E_STORAGE,
			"the output of op %" PRId64 ".%u is damaged: '%s' or its .log was cut; put "
			"both back from a copy",
			j->p.run, j->op, idx);
}

static void output_read(void *arg)
{
	struct output_job *j = arg;
	const struct params_run_output *p = &j->p;
	int r = logread_refresh(j->log);
	if (r == 0 && j->printed &&
	    logread_extent(j->log, j->op, j->attempt, STREAM_BOTH).size == 0) {
		output_missing(j);
		return;
	}
	if (r == 0) {
		int64_t there = logread_extent(j->log, j->op, j->attempt, p->stream).size;
		j->size = MAX2(there, j->known[p->stream]);
		int64_t start = output_start(j);
		j->offset = j->next = start;
		if (start < 0)
			r = (int)start;
		else if (p->limit > 0 && start < there)
			r = output_fetch(j, p->limit);
		else if (p->limit > 0 && start < j->size)
			r = -EIO; /* up to here it can be read */
	}
	if (r == -EIO) {
		err_set(&j->err, E_STORAGE,
			"the output of op %" PRId64 ".%u is damaged from byte %" PRId64
			" on: its file was cut, or cannot be read (see the system's log)",
			p->run, j->op, j->offset);
		return;
	}
	if (r == -EPROTO) {
		err_set(&j->err, E_STORAGE,
			"the output of run %" PRId64 " is damaged: '%s/%" PRId64
			".idx' is not as batchd writes it; put it back from a copy, or move it and "
			"its .log away",
			p->run, j->call->s->config.runs_dir, p->run);
		return;
	}
	if (r < 0) {
		err_set(&j->err, r == -ENOMEM ? E_MEMORY : E_STORAGE,
			"cannot read the output of op %" PRId64 ".%u: %s", p->run, j->op,
			strerror(-r));
		return;
	}
	if (p->stream == STREAM_BOTH)
		output_cut(j);
	output_gap(j);
	if (p->stream == STREAM_BOTH)
		output_streams(j);
}

/* The op is known: which try, and whether it has ended. */
static void output_go(struct output_job *j, const struct op_row *row)
{
	j->op = row->op;
	j->attempt = (uint32_t)MIN2(j->p.attempt, UINT32_MAX);
	if (j->attempt > row->attempts) {
		err_set(&j->err, E_NOT_FOUND,
			"op %" PRId64 ".%u has been tried %u times: there is no attempt %" PRId64,
			j->p.run, row->op, row->attempts, j->p.attempt);
		return;
	}
	j->op_ended = op_state_ended(row->state) || (j->attempt && j->attempt < row->attempts);
	if (!j->attempt)
		j->attempt = row->attempts;
	if (row->attempts != j->attempt || !op_state_ended(row->state))
		return;
	j->known[STREAM_STDOUT] = row->stdout_bytes;
	j->known[STREAM_STDERR] = row->stderr_bytes;
	j->known[STREAM_BOTH] = row->stdout_bytes + row->stderr_bytes;
	j->printed = j->known[STREAM_BOTH] > 0;
}

/* Not for ops that printed nothing: of these nothing is missing. What earlier tries printed is not
 * known. */
static void output_check_dropped(struct output_job *j, const struct run_row *run,
				 const struct op_row *row)
{
	_cleanup_buf_ struct buf after = BUF_INIT;
	if (!run->dropped || (!j->printed && j->attempt == row->attempts))
		return;
	duration_human(&after, MAX2(run->dropped_at - run->ended, 0));
	err_set(&j->err, E_NOT_FOUND,
		"the output of run %" PRId64 " was dropped %s after its end%s", j->p.run,
		buf_str(&after),
		run->dropped == DROPPED_BY_AGE
			? " (keep_output in batchd.conf)"
			: ", to make room (keep_output_bytes in batchd.conf)");
}

/* Its turn has come. Who asked may be gone by then. */
static void output_begin(struct output_job *j)
{
	struct rpc_server *s = j->call->s;
	if (!rpc_conn_of(j->call)) {
		err_set(&j->err, E_STATE, "the connection has ended");
		output_fail(j);
		return;
	}
	s->n_outputs++;
	j->log = logcache_take(s->logs, (uint64_t)j->p.run);
	work_submit(s->config.work, output_read, output_done_job, j);
}

static void output_next(struct rpc_server *s)
{
	s->n_outputs--;
	while (!list_empty(&s->outputs) && s->n_outputs < OUTPUTS_AT_ONCE) {
		struct output_job *j = list_entry(s->outputs.next, struct output_job, list);
		list_del(&j->list);
		output_begin(j);
	}
}

void rpc_outputs_done(struct rpc_server *s)
{
	list_for_safe (&s->outputs, node) {
		struct output_job *j = list_entry(node, struct output_job, list);
		list_del(&j->list);
		err_set(&j->err, E_STATE, "the daemon is stopping");
		output_fail(j);
	}
}

static void output_submit(struct output_job *j)
{
	struct rpc_server *s = j->call->s;
	if (!j->err.sym && s->freed)
		err_set(&j->err, E_STATE, "the daemon is stopping");
	if (j->err.sym)
		output_fail(j);
	else if (s->n_outputs == OUTPUTS_AT_ONCE)
		list_add_tail(&s->outputs, &j->list);
	else
		output_begin(j);
}

static void output_find_stored(struct sql_reader *r, void *arg)
{
	struct output_job *j = arg;
	_cleanup_buf_ struct buf strings = BUF_INIT;
	_cleanup_buf_ struct buf run_strings = BUF_INIT;
	struct op_row row;
	struct run_row run;
	uint32_t op = (uint32_t)MIN2(j->p.op.index, UINT32_MAX);
	j->err = (struct err)ERR_INIT;
	if (sql_run_get(r, (uint64_t)j->p.run, &run, &run_strings, &j->err) == 0 &&
	    sql_op_get(r, (uint64_t)j->p.run, op, slice_str(j->id), &row, &strings, &j->err) == 0)
		output_go(j, &row);
	else if (!j->err.sym)
		j->err.sym = E_INTERNAL;
	if (!j->err.sym)
		output_check_dropped(j, &run, &row);
}

static void output_found_stored(void *arg)
{
	output_submit(arg);
}

static void output_find_live(struct output_job *j, struct engine *e)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	struct op_row row;
	uint32_t op = (uint32_t)MIN2(j->p.op.index, UINT32_MAX);
	if (j->id)
		op = engine_op_find(e, (uint64_t)j->p.run, slice_str(j->id));
	if (op && engine_op_row(e, (uint64_t)j->p.run, op, &text, &row)) {
		output_go(j, &row);
		return;
	}
	if (j->id)
		err_set(&j->err, E_NOT_FOUND, "run %" PRId64 " has no op '%s'", j->p.run, j->id);
	else
		err_set(&j->err, E_NOT_FOUND, "run %" PRId64 " has no op %" PRId64, j->p.run,
			j->p.op.index);
}

void rpc_run_output(struct rpc_call *call, const void *params)
{
	struct engine *e = call->s->config.engine;
	struct run_row row;
	struct output_job *j = xcalloc(1, sizeof(*j));
	j->call = call;
	j->p = *(const struct params_run_output *)params;
	j->id = xslicedup(j->p.op.id);
	j->gap = -1;
	if (j->p.limit < 0)
		j->p.limit = j->p.tail >= 0 ? j->p.tail : LIMIT_OUTPUT_DEFAULT;
	j->p.limit = MIN2(j->p.limit, LIMIT_OUTPUT_MAX);
	if (!engine_run_row(e, (uint64_t)j->p.run, &row)) {
		store_read(call->s->config.store, output_find_stored, output_found_stored, j);
		return;
	}
	output_find_live(j, e);
	output_submit(j);
}
