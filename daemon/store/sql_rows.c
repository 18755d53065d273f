/* Rows to parameters and columns to rows; the order is that of the SQL_*_COLUMNS lists in sql.h. */
#include "daemon/store/sql.h"

#include <string.h>

void sql_bind_op(sqlite3_stmt *stmt, const struct op_row *row)
{
	struct sql_bind b = { stmt, 0 };

	sql_put_int(&b, (int64_t)row->run);
	sql_put_int(&b, row->op);
	sql_put_int(&b, row->message);
	sql_put_text(&b, row->id);
	sql_put_int(&b, row->kind);
	sql_put_text(&b, row->text);
	sql_put_int(&b, row->state);
	sql_put_int(&b, row->cause);
	sql_put_int(&b, row->exit);
	sql_put_int(&b, row->signal);
	sql_put_int(&b, row->attempts);
	sql_put_int(&b, row->pid);
	sql_put_int(&b, row->started);
	sql_put_int(&b, row->ended);
	sql_put_int(&b, row->duration_ms);
	sql_put_int(&b, row->stdout_bytes);
	sql_put_int(&b, row->stderr_bytes);
	sql_put_int(&b, row->dropped_bytes);
	sql_put_int(&b, row->lingering);
	sql_put_text(&b, row->todo);
	sql_put_text(&b, row->error);
	sql_put_text(&b, row->description);
	sql_put_blob(&b, row->meta);
}

void sql_column_op(sqlite3_stmt *stmt, struct op_row *ret)
{
	struct sql_column c = { stmt, 0 };

	ret->run = (uint64_t)sql_get_int(&c);
	ret->op = (uint32_t)sql_get_int(&c);
	ret->message = (uint32_t)sql_get_int(&c);
	ret->id = sql_get_text(&c);
	ret->kind = (int)sql_get_int(&c);
	ret->text = sql_get_text(&c);
	ret->state = (enum op_state)sql_get_int(&c);
	ret->cause = (enum op_cause)sql_get_int(&c);
	ret->exit = (int)sql_get_int(&c);
	ret->signal = (int)sql_get_int(&c);
	ret->attempts = (uint32_t)sql_get_int(&c);
	ret->pid = (int32_t)sql_get_int(&c);
	ret->started = sql_get_int(&c);
	ret->ended = sql_get_int(&c);
	ret->duration_ms = sql_get_int(&c);
	ret->stdout_bytes = sql_get_int(&c);
	ret->stderr_bytes = sql_get_int(&c);
	ret->dropped_bytes = sql_get_int(&c);
	ret->lingering = (uint32_t)sql_get_int(&c);
	ret->todo = sql_get_text(&c);
	ret->error = sql_get_text(&c);
	ret->description = sql_get_text(&c);
	ret->meta = sql_get_blob(&c);
	ret->cmd = 0; /* nobody asks */
}

static void sql_bind_summary(struct sql_bind *b, const struct run_summary *s)
{
	sql_put_int(b, s->ops);
	sql_put_int(b, s->succeeded);
	sql_put_int(b, s->failed);
	sql_put_int(b, s->skipped);
	sql_put_int(b, s->cancelled);
	sql_put_int(b, s->interrupted);
	sql_put_int(b, s->wall_ms);
	sql_put_int(b, s->serial_ms);
	sql_put_int(b, s->critical_ms);
}

static void sql_column_summary(struct sql_column *c, struct run_summary *ret)
{
	ret->ops = (uint32_t)sql_get_int(c);
	ret->succeeded = (uint32_t)sql_get_int(c);
	ret->failed = (uint32_t)sql_get_int(c);
	ret->skipped = (uint32_t)sql_get_int(c);
	ret->cancelled = (uint32_t)sql_get_int(c);
	ret->interrupted = (uint32_t)sql_get_int(c);
	ret->wall_ms = sql_get_int(c);
	ret->serial_ms = sql_get_int(c);
	ret->critical_ms = sql_get_int(c);
}

void sql_bind_run(sqlite3_stmt *stmt, const struct run_row *row)
{
	struct sql_bind b = { stmt, 0 };

	sql_put_int(&b, (int64_t)row->run);
	sql_put_int(&b, row->state);
	sql_put_text(&b, row->name);
	sql_put_text(&b, row->key);
	sql_put_blob(&b, slice_of(row->digest, sizeof(row->digest)));
	sql_put_text(&b, row->cwd);
	sql_put_text(&b, row->project);
	sql_put_text(&b, row->group);
	sql_put_text(&b, row->list);
	sql_put_int(&b, row->order);
	sql_put_int(&b, row->order_used);
	sql_put_int(&b, (int64_t)row->origin);
	sql_put_int(&b, (int64_t)row->parent);
	sql_put_int(&b, row->parent_op);
	sql_put_int(&b, row->created);
	sql_put_int(&b, row->started);
	sql_put_int(&b, row->ended);
	sql_put_int(&b, row->priority);
	sql_put_int(&b, row->n_ops);
	sql_put_int(&b, row->n_messages);
	sql_bind_summary(&b, &row->summary);
	sql_put_blob(&b, row->messages);
	sql_put_blob(&b, row->meta);
	sql_put_int(&b, row->stopping);
	sql_put_int(&b, row->log_bytes);
	sql_put_int(&b, row->dropped);
	sql_put_int(&b, row->dropped_at);
}

void sql_column_run(sqlite3_stmt *stmt, struct run_row *ret)
{
	struct sql_column c = { stmt, 0 };
	struct slice digest;

	ret->run = (uint64_t)sql_get_int(&c);
	ret->state = (enum run_state)sql_get_int(&c);
	ret->name = sql_get_text(&c);
	ret->key = sql_get_text(&c);
	digest = sql_get_blob(&c);
	memset(ret->digest, 0, sizeof(ret->digest));
	if (digest.len == sizeof(ret->digest))
		memcpy(ret->digest, digest.p, digest.len);
	ret->cwd = sql_get_text(&c);
	ret->project = sql_get_text(&c);
	ret->group = sql_get_text(&c);
	ret->list = sql_get_text(&c);
	ret->order = (int)sql_get_int(&c);
	ret->order_used = (int)sql_get_int(&c);
	ret->origin = (uint64_t)sql_get_int(&c);
	ret->parent = (uint64_t)sql_get_int(&c);
	ret->parent_op = (uint32_t)sql_get_int(&c);
	ret->created = sql_get_int(&c);
	ret->started = sql_get_int(&c);
	ret->ended = sql_get_int(&c);
	ret->priority = sql_get_int(&c);
	ret->n_ops = (uint32_t)sql_get_int(&c);
	ret->n_messages = (uint32_t)sql_get_int(&c);
	sql_column_summary(&c, &ret->summary);
	ret->messages = sql_get_blob(&c);
	ret->meta = sql_get_blob(&c);
	ret->stopping = (int)sql_get_int(&c);
	ret->log_bytes = sql_get_int(&c);
	ret->dropped = (enum run_dropped)sql_get_int(&c);
	ret->dropped_at = sql_get_int(&c);
	ret->eta_ms = 0;
	ret->eta_partial = false;
}

void sql_bind_todo(sqlite3_stmt *stmt, const struct todo_row *row)
{
	struct sql_bind b = { stmt, 0 };

	sql_put_text(&b, row->list);
	sql_put_text(&b, row->id);
	sql_put_text(&b, row->content);
	sql_put_text(&b, row->active_form);
	sql_put_text(&b, row->description);
	sql_put_text(&b, row->owner);
	sql_put_text(&b, row->parent);
	sql_put_text(&b, row->at);
	sql_put_text(&b, row->error);
	sql_put_text(&b, row->source);
	sql_put_int(&b, row->status);
	sql_put_int(&b, row->priority);
	sql_put_blob(&b, row->blocked_by);
	sql_put_blob(&b, row->tags);
	sql_put_blob(&b, row->meta);
	sql_put_int(&b, row->position);
	sql_put_int(&b, row->rev);
	sql_put_int(&b, row->created);
	sql_put_int(&b, row->started);
	sql_put_int(&b, row->completed);
	sql_put_int(&b, row->lease_until);
	sql_put_int(&b, (int64_t)row->run);
	sql_put_int(&b, row->removed);
}

void sql_column_todo(sqlite3_stmt *stmt, struct todo_row *ret)
{
	struct sql_column c = { stmt, 0 };

	ret->list = sql_get_text(&c);
	ret->id = sql_get_text(&c);
	ret->content = sql_get_text(&c);
	ret->active_form = sql_get_text(&c);
	ret->description = sql_get_text(&c);
	ret->owner = sql_get_text(&c);
	ret->parent = sql_get_text(&c);
	ret->at = sql_get_text(&c);
	ret->error = sql_get_text(&c);
	ret->source = sql_get_text(&c);
	ret->status = (enum todo_status)sql_get_int(&c);
	ret->priority = (enum todo_priority)sql_get_int(&c);
	ret->blocked_by = sql_get_blob(&c);
	ret->tags = sql_get_blob(&c);
	ret->meta = sql_get_blob(&c);
	ret->position = sql_get_int(&c);
	ret->rev = sql_get_int(&c);
	ret->created = sql_get_int(&c);
	ret->started = sql_get_int(&c);
	ret->completed = sql_get_int(&c);
	ret->lease_until = sql_get_int(&c);
	ret->run = (uint64_t)sql_get_int(&c);
	ret->removed = sql_get_int(&c) != 0;
}
