#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "client/json.h"
#include "client/todo_cli.h"
#include "common/fd.h"
#include "common/text.h"
#include "proto/limits.h"
#include "proto/mp.h"
#include "proto/suggest.h"

/* The result under --json, else `line`; what batchd warns of. */
static int tell(struct ctx *c, const struct buf *reply, const struct buf *line)
{
	ctx_warnings(c, buf_slice(reply));
	int printed = c->json ? ctx_print_json(c, buf_slice(reply)) : ctx_print(c, line);
	return ctx_print_changed(c, printed, "it was done all the same:", line);
}

static void put_names(struct pk *pk, const char *key, const struct strv *names)
{
	if (!names->n)
		return;
	pk_key(pk, key);
	pk_array(pk);
	for (size_t i = 0; i < names->n; i++)
		pk_text(pk, slice_str(names->v[i]));
	pk_end(pk);
}

static void put_field(struct pk *pk, const char *key, const char *value)
{
	if (value)
		pk_ktext(pk, key, slice_str(value));
}

/* ---- add ---- */

static void add_item(struct pk *pk, const struct todo_options *o, struct slice content)
{
	pk_map(pk);
	pk_ktext(pk, "content", content);
	put_field(pk, "id", o->id);
	put_field(pk, "status", o->status);
	put_field(pk, "priority", o->priority);
	put_field(pk, "owner", o->owner);
	put_field(pk, "at", o->at);
	put_field(pk, "description", o->description);
	put_field(pk, "active_form", o->active_form);
	put_field(pk, "parent", o->parent);
	put_names(pk, "blocked_by", &o->blocked_by);
	put_names(pk, "tags", &o->tags);
	pk_end(pk);
}

/* The id the new item was given: the item with our text that was written last. */
static void added_id(struct slice todos, struct slice content, struct buf *b)
{
	struct mp m = mp_of(todos);
	struct mp_value list = mp_next(&m);
	struct slice id = SLICE_NONE;
	int64_t newest = -1;
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice item = mp_skip(&m);
		int64_t rev = mp_get_int(item, "rev", 0);
		if (!slice_eq(mp_get_str(item, "content"), content) || rev < newest)
			continue;
		newest = rev;
		id = mp_get_str(item, "id");
	}
	text_one_line(b, id, LIMIT_NAME_BYTES);
	buf_addc(b, '\n');
}

int verb_todo_add(struct ctx *c, void *options)
{
	struct todo_options *o = options;
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, content = BUF_INIT,
				 line = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	for (int i = 0; i < c->argc; i++)
		buf_addf(&content, "%s%s", i ? " " : "", c->argv[i]);
	todo_params_begin(&pk, o);
	pk_kstr(&pk, "mode", slice_str("merge"));
	pk_key(&pk, "todos");
	pk_array(&pk);
	add_item(&pk, o, buf_slice(&content));
	pk_end(&pk);
	int status = todo_call(c, "todo.write", &pk, &params, &reply);
	if (status)
		return status;
	if (o->id)
		buf_addf(&line, "%s\n", o->id);
	else
		added_id(mp_find(buf_slice(&reply), "todos"), buf_slice(&content), &line);
	return tell(c, &reply, &line);
}

/* ---- start, done, set, rm, release: one request an item ---- */

typedef void (*todo_fields_fn)(struct pk *pk, const struct todo_options *o);

/*
 * One that fails is reported and the others still done; what was done is told. The results of
 * several under --json: {"results": [...]}; of one: as it came.
 */
static int each_item(struct ctx *c, const struct todo_options *o, const char *method,
		     const char *done, todo_fields_fn fields)
{
	_cleanup_buf_ struct buf lines = BUF_INIT, all = BUF_INIT, last = BUF_INIT;
	struct pk results = PK_INIT(&all);
	int status = EXIT_OK;
	pk_map(&results);
	pk_key(&results, "results");
	pk_array(&results);
	for (int i = 0; i < c->argc; i++) {
		_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
		struct pk pk = PK_INIT(&params);
		todo_params_begin(&pk, o);
		pk_ktext(&pk, "id", slice_str(c->argv[i]));
		if (fields)
			fields(&pk, o);
		int one = todo_call(c, method, &pk, &params, &reply);
		if (one && (one == EXIT_NO_DAEMON || c->argc == 1))
			return one;
		status = status ? status : one;
		if (one)
			continue;
		if (c->json && c->argc == 1)
			return tell(c, &reply, &lines);
		/* The last one's warnings are about all of them. */
		buf_clear(&last);
		buf_addslice(&last, buf_slice(&reply));
		pk_raw(&results, buf_slice(&reply));
		buf_addf(&lines, "%s ", done);
		text_one_line(&lines, slice_str(c->argv[i]), LIMIT_NAME_BYTES);
		buf_addc(&lines, '\n');
	}
	pk_end(&results);
	pk_end(&results);
	ctx_warnings(c, buf_slice(&last));
	int told = tell(c, &all, &lines);
	return status ? status : told;
}

static void start_fields(struct pk *pk, const struct todo_options *o)
{
	pk_kstr(pk, "status", slice_str("in_progress"));
	put_field(pk, "owner", o->owner);
}

static void done_fields(struct pk *pk, const struct todo_options *o)
{
	(void)o;
	pk_kstr(pk, "status", slice_str("completed"));
}

static void release_fields(struct pk *pk, const struct todo_options *o)
{
	put_field(pk, "owner", o->owner);
}

int verb_todo_start(struct ctx *c, void *options)
{
	return each_item(c, options, "todo.update", "in progress:", start_fields);
}

int verb_todo_done(struct ctx *c, void *options)
{
	return each_item(c, options, "todo.update", "done:", done_fields);
}

int verb_todo_rm(struct ctx *c, void *options)
{
	return each_item(c, options, "todo.remove", "removed:", NULL);
}

int verb_todo_release(struct ctx *c, void *options)
{
	return each_item(c, options, "todo.release", "released:", release_fields);
}

static const char *const set_texts[] = { "content",	"status", "priority",	 "owner",
					 "description", "at",	  "active_form", "parent",
					 "error",	NULL };
static const char *const set_lists[] = { "tags", "blocked_by", NULL };

static bool is_one_of(const char *const *names, struct slice name)
{
	for (; *names; names++)
		if (slice_is(name, *names))
			return true;
	return false;
}

static void set_list(struct pk *pk, const char *value)
{
	pk_array(pk);
	while (*value) {
		size_t len = strcspn(value, ",");
		if (len)
			pk_text(pk, slice_of(value, len));
		value += len + (value[len] == ',');
	}
	pk_end(pk);
}

static int set_unknown(struct ctx *c, struct slice name)
{
	struct suggest near = SUGGEST_INIT(name);
	char hint[SUGGEST_TEXT_MAX];
	for (const char *const *n = set_texts; *n; n++)
		suggest_offer(&near, *n);
	for (const char *const *n = set_lists; *n; n++)
		suggest_offer(&near, *n);
	return fail(c, EXIT_USAGE,
		    "an item has no field '%.*s'%s; keep things of your own as meta.NAME=VALUE",
		    SLICE_FMT(name), suggest_text(&near, hint));
}

/* FIELD=VALUE words into params; meta.NAME ones are gathered in one map at the end. */
static int set_fields(struct ctx *c, struct pk *pk)
{
	_cleanup_buf_ struct buf meta = BUF_INIT;
	struct pk mk = PK_INIT(&meta);
	bool any = false;
	pk_map(&mk);
	for (int i = 1; i < c->argc; i++) {
		size_t len = strcspn(c->argv[i], "=");
		struct slice name = slice_of(c->argv[i], len);
		if (c->argv[i][len] != '=')
			return fail(c, EXIT_USAGE, "'%s': write FIELD=VALUE", c->argv[i]);
		const char *value = c->argv[i] + len + 1;
		if (slice_is(name, "activeForm"))
			name = slice_str("active_form");
		if (len > 5 && memcmp(name.p, "meta.", 5) == 0) {
			pk_keyslice(&mk, slice_of(name.p + 5, len - 5));
			pk_text(&mk, slice_str(value));
			any = true;
		} else if (is_one_of(set_texts, name)) {
			pk_keyslice(pk, name);
			pk_text(pk, slice_str(value));
		} else if (is_one_of(set_lists, name)) {
			pk_keyslice(pk, name);
			set_list(pk, value);
		} else {
			return set_unknown(c, name);
		}
	}
	pk_end(&mk);
	if (any)
		pk_kraw(pk, "meta", buf_slice(&meta));
	return EXIT_OK;
}

int verb_todo_set(struct ctx *c, void *options)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, line = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	todo_params_begin(&pk, options);
	pk_ktext(&pk, "id", slice_str(c->argv[0]));
	int status = set_fields(c, &pk);
	if (status == EXIT_OK)
		status = todo_call(c, "todo.update", &pk, &params, &reply);
	if (status)
		return status;
	buf_adds(&line, "set: ");
	text_one_line(&line, slice_str(c->argv[0]), LIMIT_NAME_BYTES);
	buf_addc(&line, '\n');
	return tell(c, &reply, &line);
}

/* ---- write ---- */

/* The packed array of items in a JSON file: an array, or {"todos": [...]}. */
static int write_read(struct ctx *c, const char *name, struct buf *todos)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	_cleanup_json_ json_t *value = NULL;
	struct err e = ERR_INIT;
	bool from_stdin = strcmp(name, "-") == 0;
	int r = from_stdin ? fd_read_all(STDIN_FILENO, LIMIT_FRAME_BYTES, &text)
			   : fd_read_file(name, LIMIT_FRAME_BYTES, &text);
	if (r < 0)
		return fail(c, EXIT_USAGE, "cannot read '%s': %s", from_stdin ? "stdin" : name,
			    strerror(-r));
	if (json_read(buf_slice(&text), from_stdin ? "stdin" : name, &value, &e))
		return fail(c, EXIT_USAGE, "%s", e.text);
	const json_t *items = json_is_object(value) ? json_object_get(value, "todos") : value;
	if (!json_is_array(items))
		return fail(
			c, EXIT_USAGE,
			"'%s' holds no list: write [{\"content\": ...}, ...] or {\"todos\": [...]}",
			name);
	return json_to_mp(items, todos, &e) ? fail(c, EXIT_USAGE, "%s", e.text) : EXIT_OK;
}

static uint32_t count_of(struct slice array)
{
	struct mp m = mp_of(array);
	struct mp_value v = mp_next(&m);
	return v.type == MP_ARRAY ? v.count : 0;
}

int verb_todo_write(struct ctx *c, void *options)
{
	struct todo_options *o = options;
	_cleanup_buf_ struct buf todos = BUF_INIT, params = BUF_INIT, reply = BUF_INIT,
				 line = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	int status = write_read(c, c->argv[0], &todos);
	if (status)
		return status;
	todo_params_begin(&pk, o);
	pk_kraw(&pk, "todos", buf_slice(&todos));
	put_field(&pk, "mode", o->mode);
	put_field(&pk, "source", o->source);
	if (o->base_rev.set)
		pk_kint(&pk, "base_rev", o->base_rev.v);
	status = todo_call(c, "todo.write", &pk, &params, &reply);
	if (status)
		return status;
	uint32_t n = count_of(buf_slice(&todos));
	buf_addf(&line, "wrote %u item%s: revision %" PRId64 "\n", n, PLURAL(n),
		 mp_get_int(buf_slice(&reply), "rev", 0));
	return tell(c, &reply, &line);
}

/* ---- claim, undo ---- */

int verb_todo_claim(struct ctx *c, void *options)
{
	struct todo_options *o = options;
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, line = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	const char *user = getenv("USER"), *owner = o->owner ? o->owner : user;
	if (!owner || !*owner)
		return fail(c, EXIT_USAGE, "who claims it? Give --owner NAME");
	todo_params_begin(&pk, o);
	if (c->argc)
		pk_ktext(&pk, "id", slice_str(c->argv[0]));
	pk_ktext(&pk, "owner", slice_str(owner));
	if (o->lease.set)
		pk_kint(&pk, "lease_ms", o->lease.v);
	int status = todo_call(c, "todo.claim", &pk, &params, &reply);
	if (status)
		return status;
	struct slice item = mp_find(buf_slice(&reply), "todo");
	if (!item.p) {
		note(c, "nothing is ready");
		return c->json && ctx_print_json(c, buf_slice(&reply)) ? EXIT_RUN : EXIT_RUN;
	}
	text_one_line(&line, mp_get_str(item, "id"), LIMIT_NAME_BYTES);
	buf_addc(&line, '\n');
	return tell(c, &reply, &line);
}

static bool change_is_empty(struct slice event)
{
	/* nil: too long to be told, and so not empty */
	return slice_is(mp_find(event, "before"), "\x90") &&
	       slice_is(mp_find(event, "after"), "\x90");
}

/*
 * The revision to go back to: the one before `rev`; where that changed nothing, the one before
 * that; where it was itself brought back from an earlier one, what is before that one. So undo
 * after undo goes back step by step, as in an editor.
 */
static int undo_target(struct ctx *c, const struct todo_options *o, int64_t rev, int64_t *ret)
{
	for (;;) {
		_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
		struct pk pk = PK_INIT(&params);
		todo_params_begin(&pk, o);
		pk_kint(&pk, "since", MAX2(rev - 1, 0));
		pk_kint(&pk, "limit", 1);
		int status = todo_call(c, "todo.history", &pk, &params, &reply);
		if (status)
			return status;
		struct mp m = mp_of(mp_find(buf_slice(&reply), "events"));
		struct mp_value events = mp_next(&m);
		bool found = rev > 0 && events.type == MP_ARRAY && events.count > 0;
		struct slice event = found ? mp_skip(&m) : SLICE_NONE;
		int64_t restored = mp_get_int(event, "restored", -1);
		if (restored >= 0 && restored < rev) {
			rev = restored;
		} else if (found && change_is_empty(event)) {
			rev--;
		} else {
			*ret = rev - 1;
			return EXIT_OK;
		}
	}
}

static int undo_current(struct ctx *c, const struct todo_options *o, int64_t *ret_rev)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	todo_params_begin(&pk, o);
	int status = todo_call(c, "todo.list", &pk, &params, &reply);
	*ret_rev = mp_get_int(buf_slice(&reply), "rev", 0);
	return status;
}

int verb_todo_undo(struct ctx *c, void *options)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, line = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	int64_t now, back = -1;
	int status = undo_current(c, options, &now);
	if (status)
		return status;
	if (c->argc && !parse_int(slice_str(c->argv[0]), 0, LIMIT_INT, &back))
		return fail(c, EXIT_USAGE, "'%s' is no revision: see `batchctl todo log`",
			    c->argv[0]);
	if (!c->argc)
		status = undo_target(c, options, now, &back);
	if (status)
		return status;
	if (back < 0)
		return fail(c, EXIT_USAGE, "there is nothing to take back");
	todo_params_begin(&pk, options);
	pk_kint(&pk, "rev", back);
	pk_kint(&pk, "base_rev", now);
	status = todo_call(c, "todo.restore", &pk, &params, &reply);
	if (status)
		return status;
	buf_addf(&line,
		 "as at revision %" PRId64 "; `batchctl todo undo %" PRId64
		 "` brings back what was\n",
		 back, now);
	return tell(c, &reply, &line);
}
