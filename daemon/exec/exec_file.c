/*
 * write, edit and read ops: a job goes to a worker thread with everything it needs, comes back as a result. What touches the files
 * is in file_ops.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include <uthash.h>

#include "common/timeutil.h"
#include "common/xalloc.h"
#include "daemon/exec/exec.h"
#include "daemon/exec/file_ops.h"
#include "daemon/record.h"
#include "proto/batch.h"

struct exec_file {
	struct work *work;
	struct output *output;
	struct exec_events events;
	struct file_job *jobs; /* by token */
};

struct file_job {
	UT_hash_handle hh;
	struct exec_file *x;
	struct file_op op;
	char *bytes; /* what op borrows from */
	struct exec_result result;
	int64_t begun_ns;
	_Atomic int begun, cancelled; /* whichever comes first wins */
	bool worked, drained;	      /* read: both are needed */
};

struct exec_file *exec_file_new(struct work *work, struct output *output, const struct exec_events *events)
{
	struct exec_file *x = xcalloc(1, sizeof(*x));
	x->work = work;
	x->output = output;
	x->events = *events;
	return x;
}

static void job_free(struct file_job *j)
{
	if (j->op.pipe_fd >= 0)
		close(j->op.pipe_fd);
	free(j->bytes);
	free(j);
}

struct exec_file *exec_file_free(struct exec_file *x)
{
	struct file_job *j, *next;
	if (!x)
		return NULL;
	HASH_ITER(hh, x->jobs, j, next)
	{
		HASH_DEL(x->jobs, j);
		job_free(j);
	}
	free(x);
	return NULL;
}

/* On a worker thread. A job is begun or cancelled, never both. */
static void job_run(void *arg)
{
	struct file_job *j = arg;
	int expected = 0;
	j->begun_ns = time_mono_ns();
	j->result.started = time_wall_ms();
	if (atomic_load(&j->cancelled) || !atomic_compare_exchange_strong(&j->begun, &expected, 1)) {
		j->result.cause = CAUSE_CANCEL;
	} else {
		j->result.cause = file_op_run(&j->op, &j->result.error);
	}
	if (j->op.pipe_fd >= 0)
		close(TAKE_FD(j->op.pipe_fd));
	j->result.ended = time_wall_ms();
	j->result.duration_ms = (time_mono_ns() - j->begun_ns) / 1000000;
}

static void job_end(struct file_job *j)
{
	struct exec_file *x = j->x;
	HASH_DEL(x->jobs, j);
	x->events.ended(x->events.arg, &j->result);
	job_free(j);
}

static void job_done(void *arg)
{
	struct file_job *j = arg;
	j->worked = true;
	if (j->op.kind != KIND_READ || j->drained)
		job_end(j);
	else
		output_finish(j->x->output, j->result.token);
}

bool exec_file_drained(struct exec_file *x, uint64_t token, const struct output_totals *totals)
{
	struct file_job *j;
	HASH_FIND(hh, x->jobs, &token, sizeof(token), j);
	if (!j)
		return false;
	j->result.stdout_bytes = totals->stdout_bytes;
	j->result.dropped_bytes = totals->dropped_bytes;
	j->drained = true;
	if (j->worked)
		job_end(j);
	return true;
}

/* Copies what the op borrows, in one piece. */
static void job_own(struct file_job *j, const struct batch_op *op, const char *path)
{
	const struct slice parts[] = { slice_str(path), op->content, op->expect, op->old_text, op->new_text };
	struct slice *const into[] = { &j->op.path, &j->op.content, &j->op.expect, &j->op.old_text, &j->op.new_text };
	size_t size = 0;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		size += parts[i].len + 1;
	char *at = j->bytes = xmalloc(size);
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (parts[i].len)
			memcpy(at, parts[i].p, parts[i].len);
		at[parts[i].len] = '\0';
		*into[i] = parts[i].p ? slice_of(at, parts[i].len) : SLICE_NONE;
		at += parts[i].len + 1;
	}
}

static int job_pipe(struct file_job *j, int64_t output_cap)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	j->op.pipe_fd = fds[1];
	output_attach(j->x->output, j->result.token, fds[0], -1, output_cap);
	return 0;
}

void exec_file_start(struct exec_file *x, uint64_t token, const struct batch_op *op, const char *path, uint32_t mask,
		     int64_t output_cap)
{
	struct file_job *j = xcalloc(1, sizeof(*j));
	j->x = x;
	j->result.token = token;
	j->result.is_file_op = true;
	j->op = (struct file_op){
		.kind = op->kind,
		.umask = mask,
		.mode = op->mode,
		.offset = op->offset,
		.limit = op->limit,
		.create_only = op->create_only,
		.append = op->append,
		.all = op->all,
		.pipe_fd = -1,
	};
	job_own(j, op, path);
	HASH_ADD(hh, x->jobs, result.token, sizeof(token), j);
	if (op->kind == KIND_READ)
		j->op.pipe_error = job_pipe(j, output_cap);
	j->drained = op->kind == KIND_READ && j->op.pipe_error < 0;
	work_submit(x->work, job_run, job_done, j);
}

void exec_file_cancel(struct exec_file *x, uint64_t token)
{
	struct file_job *j;
	HASH_FIND(hh, x->jobs, &token, sizeof(token), j);
	if (j)
		atomic_store(&j->cancelled, 1);
}
