/*
 * What the todo verbs share: their options, the list they mean, and how items are shown.
 */
#ifndef CLIENT_TODO_CLI_H
#define CLIENT_TODO_CLI_H

#include "client/ctx.h"
#include "proto/pack.h"

struct todo_options {
	const char *list;
	const char *id, *priority, *status, *owner, *at, *description, *active_form, *parent,
		*source, *mode, *format;
	struct strv blocked_by, tags;
	struct opt_int base_rev, rev, lease, since;
	bool ready;
};

extern const char *const todo_cli_statuses[], *const todo_cli_priorities[];

#define TODO_OPT(name, letter, type, field, ...)                                                   \
	{                                                                                          \
		name, letter, type, offsetof(struct todo_options, field), __VA_ARGS__              \
	}

/* Begins a params map with the list: --list, else $BATCHD_LIST, else by our folder. */
void todo_params_begin(struct pk *pk, const struct todo_options *o);
/* One call with those params (the map is ended here) on a started daemon. An exit status. */
int todo_call(struct ctx *c, const char *method, struct pk *pk, struct buf *params,
	      struct buf *reply) _must_check_;
/* A line: "[~] id  content  (high, owner ...)". */
void todo_put_line(struct ctx *c, struct buf *b, struct slice item, int id_cols, int cols);
/* The widest id of an array of items, at most 24. */
int todo_id_columns(struct slice todos);

int verb_todo_list(struct ctx *c, void *options);
int verb_todo_ready(struct ctx *c, void *options);
int verb_todo_status(struct ctx *c, void *options);
int verb_todo_lists(struct ctx *c, void *options);
int verb_todo_log(struct ctx *c, void *options);
int verb_todo_watch(struct ctx *c, void *options);
int verb_todo_add(struct ctx *c, void *options);
int verb_todo_start(struct ctx *c, void *options);
int verb_todo_done(struct ctx *c, void *options);
int verb_todo_set(struct ctx *c, void *options);
int verb_todo_rm(struct ctx *c, void *options);
int verb_todo_write(struct ctx *c, void *options);
int verb_todo_claim(struct ctx *c, void *options);
int verb_todo_release(struct ctx *c, void *options);
int verb_todo_import(struct ctx *c, void *options);
int verb_todo_export(struct ctx *c, void *options);
int verb_todo_undo(struct ctx *c, void *options);

#endif
