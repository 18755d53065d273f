#include <unistd.h>

#include "client/term.h"
#include "client/todo_cli.h"
#include "client/todo_format.h"
#include "common/text.h"
#include "proto/mp.h"

const char *const todo_cli_statuses[] = { "pending", "in_progress", "completed", "cancelled",
					  NULL };
const char *const todo_cli_priorities[] = { "high", "medium", "low", NULL };
static const char *const todo_cli_modes[] = { "replace", "merge", NULL };

void todo_params_begin(struct pk *pk, const struct todo_options *o)
{
	const char *env = getenv("BATCHD_LIST"), *cwd = ctx_cwd();
	pk_map(pk);
	if (o->list)
		pk_ktext(pk, "list", slice_str(o->list));
	else if (env && *env)
		pk_ktext(pk, "list", slice_str(env));
	else
		pk_ktext(pk, "cwd", slice_str(cwd ? cwd : "/"));
}

int todo_call(struct ctx *c, const char *method, struct pk *pk, struct buf *params,
	      struct buf *reply)
{
	pk_end(pk);
	int status = ctx_connect(c, CTX_MAY_START);
	return status ? status : ctx_call(c, method, params, reply);
}

static const char *todo_mark(struct slice status)
{
	if (slice_is(status, "completed"))
		return "[x]";
	if (slice_is(status, "in_progress"))
		return "[~]";
	return slice_is(status, "cancelled") ? "[-]" : "[ ]";
}

/* "blocked by a, b" */
static void todo_put_names(struct buf *b, const char *what, struct slice names)
{
	struct mp m = mp_of(names);
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct mp_value one = mp_next(&m);
		buf_adds(b, i ? ", " : what);
		if (one.type == MP_STR || one.type == MP_BIN)
			text_one_line(b, one.bytes, 80);
	}
}

static void todo_put_rest(struct buf *b, struct slice item)
{
	struct slice priority = mp_get_str(item, "priority"), owner = mp_get_str(item, "owner");
	struct slice at = mp_get_str(item, "at"), error = mp_get_str(item, "error");
	if (priority.len && !slice_is(priority, "medium"))
		buf_addf(b, "  %.*s", SLICE_FMT(priority));
	if (owner.len) {
		buf_adds(b, "  @");
		text_one_line(b, owner, 60);
	}
	if (at.len) {
		buf_adds(b, "  ");
		text_one_line(b, at, 120);
	}
	if (!slice_is(mp_get_str(item, "status"), "completed"))
		todo_put_names(b, "  blocked by ", mp_find(item, "blocked_by"));
	todo_put_names(b, "  #", mp_find(item, "tags"));
	if (error.len) {
		buf_adds(b, "  failed: ");
		text_one_line(b, error, 200);
	}
}

void todo_put_line(struct ctx *c, struct buf *b, struct slice item, int id_cols, int cols)
{
	struct slice status = mp_get_str(item, "status"), content = mp_get_str(item, "content");
	_cleanup_buf_ struct buf line = BUF_INIT;
	buf_addf(&line, "%s ", todo_mark(status));
	term_fit_bytes(&line, mp_get_str(item, "id"), id_cols, true);
	buf_adds(&line, "  ");
	text_one_line(&line, content, 1000);
	todo_put_rest(&line, item);
	term_color(b, c->color_out, state_color(status));
	if (isatty(STDOUT_FILENO))
		term_fit(b, buf_slice(&line), cols, false);
	else
		buf_addslice(b, buf_slice(&line));
	if (state_color(status) != COLOR_NONE)
		term_color(b, c->color_out, COLOR_NONE);
	buf_addc(b, '\n');
}

int todo_id_columns(struct slice todos)
{
	struct mp m = mp_of(todos);
	struct mp_value list = mp_next(&m);
	int widest = 2;
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		int width = term_width(mp_get_str(mp_skip(&m), "id"));
		widest = MAX2(widest, width);
	}
	return MIN2(widest, 24);
}

/* ---- rows ---- */

static const struct opt shared_opts[] = {
	TODO_OPT("list", 0, OPT_STR, list, "LIST",
		 "the list; else $BATCHD_LIST, else the project's"),
	OPT_END,
};

static const struct opt list_opts[] = {
	TODO_OPT("status", 0, OPT_ENUM, status, "STATUS", "only items in that state",
		 todo_cli_statuses),
	TODO_OPT("owner", 0, OPT_STR, owner, "NAME", "only that owner's"),
	TODO_OPT("ready", 0, OPT_FLAG, ready, NULL, "only those that can be begun"),
	TODO_OPT("rev", 0, OPT_INT, rev, "N", "the list as it was at revision N", NULL, 0,
		 INT64_MAX),
	OPT_END,
};

static const struct opt item_opts[] = {
	TODO_OPT("id", 0, OPT_STR, id, "ID", "its id; else one is made"),
	TODO_OPT("priority", 0, OPT_ENUM, priority, "P", "high, medium or low",
		 todo_cli_priorities),
	TODO_OPT("status", 0, OPT_ENUM, status, "STATUS", "default pending", todo_cli_statuses),
	TODO_OPT("owner", 0, OPT_STR, owner, "NAME", "who does it"),
	TODO_OPT("blocked-by", 0, OPT_STRV, blocked_by, "ID",
		 "cannot begin before that one is done"),
	TODO_OPT("tag", 0, OPT_STRV, tags, "TAG", "a tag; repeat for more"),
	TODO_OPT("at", 0, OPT_STR, at, "FILE:LINE", "where it is about"),
	TODO_OPT("description", 0, OPT_STR, description, "TEXT", "more about it"),
	TODO_OPT("active-form", 0, OPT_STR, active_form, "TEXT", "what to show while it is done"),
	TODO_OPT("parent", 0, OPT_STR, parent, "ID", "the item it is part of"),
	OPT_END,
};

static const struct opt owner_opts[] = {
	TODO_OPT("owner", 0, OPT_STR, owner, "NAME", "who does it; claim: else $USER"),
	TODO_OPT("lease", 0, OPT_DURATION, lease, "D", "claim: given back after that long"),
	OPT_END,
};

#define WRITE_OPTS(modes, whose)                                                                   \
	TODO_OPT("mode", 0, OPT_ENUM, mode, "MODE", modes, todo_cli_modes),                        \
		TODO_OPT("source", 0, OPT_STR, source, "NAME", whose "; '*': all"),                \
		TODO_OPT("base-rev", 0, OPT_INT, base_rev, "N",                                    \
			 "refuse if the list has changed since", NULL, 0, INT64_MAX)

static const struct opt write_opts[] = {
	WRITE_OPTS("replace (default) or merge", "whose items are replaced"),
	OPT_END,
};

static const struct opt log_opts[] = {
	TODO_OPT("since", 0, OPT_INT, since, "REV", "changes after that revision", NULL, 0,
		 INT64_MAX),
	OPT_END,
};

static const struct opt status_opts[] = {
	TODO_OPT("format", 0, OPT_STR, format, "F", "default '{in_progress}/{open}'"),
	OPT_END,
};

#define PORT_FORMAT                                                                                \
	TODO_OPT("format", 0, OPT_ENUM, format, "FORMAT",                                          \
		 "json, ndjson, markdown or todo.txt; else the file's name says",                  \
		 todo_format_names)

static const struct opt import_opts[] = {
	PORT_FORMAT,
	WRITE_OPTS("merge (default) or replace", "whose items they are"),
	OPT_END,
};

static const struct opt export_opts[] = {
	PORT_FORMAT,
	TODO_OPT("status", 0, OPT_ENUM, status, "STATUS", "only items in that state",
		 todo_cli_statuses),
	OPT_END,
};

#define TODO_VERB(ident, word, function, how, what, rows, least, most, ...)                        \
	static const struct verb cmd_todo_##ident = { .name = word,                                \
						      .run = function,                             \
						      .usage = how,                                \
						      .help = what,                                \
						      .options = rows,                             \
						      .options_size = sizeof(struct todo_options), \
						      .min_args = least,                           \
						      .max_args = most,                            \
						      __VA_ARGS__ }

TODO_VERB(
	list, "list", verb_todo_list, NULL, "the items", list_opts, 0, 0,
	.more = "  batchctl todo list --status in_progress\n  batchctl todo list --json --rev 12\n");
TODO_VERB(ready, "ready", verb_todo_ready, NULL, "the items that can be begun", NULL, 0, 0,
	  .more = "  batchctl todo ready\n");
TODO_VERB(add, "add", verb_todo_add, "TEXT...", "add an item; prints its id", item_opts, 1, -1,
	  .more = "  batchctl todo add --priority high --blocked-by schema 'Write the importer'\n");
TODO_VERB(start, "start", verb_todo_start, "ID...", "move items to in_progress", owner_opts, 1, -1,
	  .more = "  batchctl todo start tests --owner \"$USER\"\n");
TODO_VERB(done, "done", verb_todo_done, "ID...", "move items to completed", NULL, 1, -1,
	  .more = "  batchctl todo done schema tests\n");
TODO_VERB(set, "set", verb_todo_set, "ID FIELD=VALUE...", "change fields of an item", NULL, 2, -1,
	  .more = "FIELD is content, status, priority, owner, description, at, active_form, "
		  "parent, error,\n"
		  "tags or blocked_by (comma-separated), or meta.NAME.\n\n"
		  "  batchctl todo set tests status=pending owner= blocked_by=schema,api\n");
TODO_VERB(rm, "rm", verb_todo_rm, "ID...", "remove items; `todo undo` brings them back", NULL, 1,
	  -1, .more = "  batchctl todo rm tests\n");
TODO_VERB(write, "write", verb_todo_write, "FILE|-",
	  "write items from JSON: an array, or {\"todos\": [...]}", write_opts, 1, 1,
	  .more = "Replaces what this source wrote before, unless --mode merge. Items keep their "
		  "ids.\n\n"
		  "  echo '[{\"content\": \"Ship it\"}]' | batchctl todo write - --mode merge\n");
TODO_VERB(claim, "claim", verb_todo_claim, "[ID]",
	  "take an item, or the first ready one; 1 when there is none", owner_opts, 0, 1,
	  .more = "  id=$(batchctl todo claim --owner \"$USER\" --lease 30m)\n");
TODO_VERB(release, "release", verb_todo_release, "ID...", "give claimed items back", owner_opts, 1,
	  -1, .more = "  batchctl todo release tests\n");
TODO_VERB(log, "log", verb_todo_log, NULL, "the changes of the list", log_opts, 0, 0,
	  .more = "  batchctl todo log --since 40\n");
TODO_VERB(undo, "undo", verb_todo_undo, "[REV]",
	  "take back the last change, or go back to a revision", NULL, 0, 1,
	  .more = "  batchctl todo undo\n  batchctl todo undo 12\n");
TODO_VERB(lists, "lists", verb_todo_lists, NULL, "all lists", NULL, 0, 0,
	  .more = "  batchctl todo lists\n");
TODO_VERB(watch, "watch", verb_todo_watch, NULL, "print changes as they happen", NULL, 0, 0,
	  .more = "  batchctl todo watch\n  batchctl todo watch --json | jq .after\n");
TODO_VERB(status, "status", verb_todo_status, NULL,
	  "counts for a status line; never starts a daemon", status_opts, 0, 0,
	  .more = "The format knows {pending} {in_progress} {completed} {cancelled} {open} "
		  "{total}.\n\n"
		  "  batchctl todo status --format '{in_progress}/{open}'\n");

TODO_VERB(import, "import", verb_todo_import, "[FILE|-]",
	  "take items from JSON, NDJSON, a Markdown checklist or todo.txt", import_opts, 0, 1,
	  .more = "Without FILE: stdin. Items that are there already, by their id or else their "
		  "text, are\nchanged; nothing is removed unless --mode replace.\n\n"
		  "  batchctl todo import TODO.md\n"
		  "  batchctl todo --list home import ~/todo.txt\n");
TODO_VERB(export, "export", verb_todo_export, "[FILE|-]",
	  "write the list as JSON, NDJSON, a Markdown checklist or todo.txt", export_opts, 0, 1,
	  .more = "Without FILE: to stdout, as JSON unless --format says otherwise. What is "
		  "imported again\nkeeps its ids, statuses, priorities and needs.\n\n"
		  "  batchctl todo export TODO.md\n"
		  "  batchctl todo export --format todo.txt --status pending\n");

static const struct verb *const todo_verbs[] = {
	&cmd_todo_list,	  &cmd_todo_add,    &cmd_todo_start,
	&cmd_todo_done,	  &cmd_todo_set,    &cmd_todo_rm,
	&cmd_todo_write,  &cmd_todo_claim,  &cmd_todo_release,
	&cmd_todo_ready,  &cmd_todo_log,    &cmd_todo_undo,
	&cmd_todo_lists,  &cmd_todo_watch,  &cmd_todo_status,
	&cmd_todo_import, &cmd_todo_export, NULL,
};

const struct verb cmd_todo = {
	.name = "todo",
	.usage = "[SUB ...]",
	.help = "shared todo lists",
	.more = "  batchctl todo\n  batchctl todo add 'Write the tests' --id tests\n  batchctl "
		"todo done tests\n",
	.options = shared_opts,
	.options_size = sizeof(struct todo_options),
	.subs = todo_verbs,
};
