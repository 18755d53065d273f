#include <inttypes.h>
#include <time.h>
#include <signal.h>
#include <unistd.h>

#include "client/pages.h"
#include "client/signals.h"
#include "client/term.h"
#include "client/todo_cli.h"
#include "common/text.h"
#include "proto/mp.h"

/* ---- list, ready ---- */

static int list_print(struct ctx *c, struct slice todos, const char *none)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct mp m = mp_of(todos);
	struct mp_value list = mp_next(&m);
	int cols, rows, ids = todo_id_columns(todos);
	term_size(STDOUT_FILENO, &cols, &rows);
	if (list.type != MP_ARRAY || list.count == 0) {
		note(c, "%s", none);
		return EXIT_OK;
	}
	for (uint32_t i = 0; i < list.count; i++)
		todo_put_line(c, &b, mp_skip(&m), ids, cols);
	return ctx_print(c, &b);
}

static void list_params(struct pk *pk, const struct todo_options *o, bool ready, int64_t offset)
{
	todo_params_begin(pk, o);
	if (o->status)
		pk_kstr(pk, "status", slice_str(o->status));
	if (o->owner)
		pk_ktext(pk, "owner", slice_str(o->owner));
	if (ready)
		pk_kbool(pk, "ready", true);
	if (o->rev.set)
		pk_kint(pk, "rev", o->rev.v);
	if (offset)
		pk_kint(pk, "offset", offset);
}

static int list_items(struct ctx *c, const struct todo_options *o, bool ready)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	_cleanup_pages_ struct pages pages = PAGES_INIT;
	int64_t next = 0;
	while (next >= 0) {
		struct pk pk = PK_INIT(&params);
		buf_clear(&params);
		buf_clear(&reply);
		list_params(&pk, o, ready, next);
		int status = todo_call(c, "todo.list", &pk, &params, &reply);
		if (status)
			return status;
		next = pages_add(&pages, buf_slice(&reply), "todos");
	}
	pages_end(&pages, buf_slice(&reply), "todos");
	if (c->json)
		return ctx_print_json(c, buf_slice(&pages.all));
	return list_print(c, mp_find(buf_slice(&pages.all), "todos"),
			  ready ? "nothing is ready" : "no items");
}

int verb_todo_list(struct ctx *c, void *options)
{
	struct todo_options *o = options;
	return list_items(c, o, o->ready);
}

int verb_todo_ready(struct ctx *c, void *options)
{
	return list_items(c, options, true);
}

/* ---- status ---- */

enum {
	COUNT_PENDING,
	COUNT_IN_PROGRESS,
	COUNT_COMPLETED,
	COUNT_CANCELLED,
	COUNT_OPEN,
	COUNT_TOTAL,
	COUNT_MAX
};

static const char *const count_names[] = { "pending",	"in_progress", "completed",
					   "cancelled", "open",	       "total" };
_Static_assert(ARRAY_SIZE(count_names) == COUNT_MAX, "a name for each count");

/* From todo.lists of one list; a list that nobody has written to is none, and counts nothing. */
static void status_count(struct slice lists, int64_t counts[COUNT_MAX])
{
	struct mp m = mp_of(lists);
	struct mp_value array = mp_next(&m);
	if (array.type != MP_ARRAY || array.count == 0)
		return;
	struct slice list = mp_skip(&m);
	for (int k = 0; k < COUNT_MAX; k++)
		counts[k] = mp_get_int(list, count_names[k], 0);
	counts[COUNT_OPEN] = counts[COUNT_PENDING] + counts[COUNT_IN_PROGRESS];
}

/* {name} becomes its count, {{ and }} a brace. */
static int status_format(struct ctx *c, const char *format, const int64_t counts[COUNT_MAX],
			 struct buf *b)
{
	for (const char *p = format; *p; p++) {
		if ((p[0] == '{' && p[1] == '{') || (p[0] == '}' && p[1] == '}')) {
			buf_addc(b, *p++);
			continue;
		}
		if (*p != '{') {
			buf_addc(b, *p);
			continue;
		}
		size_t len = strcspn(p + 1, "}");
		int which = 0;
		while (which < COUNT_MAX && !slice_is(slice_of(p + 1, len), count_names[which]))
			which++;
		if (which == COUNT_MAX || p[1 + len] != '}')
			return fail(c, EXIT_USAGE,
				    "--format: '%s': the names are {pending} {in_progress} "
				    "{completed} {cancelled} "
				    "{open} {total}",
				    p);
		buf_addf(b, "%" PRId64, counts[which]);
		p += len + 1;
	}
	buf_addc(b, '\n');
	return EXIT_OK;
}

static int status_json(struct ctx *c, const int64_t counts[COUNT_MAX])
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	struct pk pk = PK_INIT(&b);
	pk_map(&pk);
	for (int i = 0; i < COUNT_MAX; i++)
		pk_kint(&pk, count_names[i], counts[i]);
	pk_end(&pk);
	return ctx_print_json(c, buf_slice(&b));
}

int verb_todo_status(struct ctx *c, void *options)
{
	struct todo_options *o = options;
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, b = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	int64_t counts[COUNT_MAX] = { 0 };
	int status = status_format(c, o->format ? o->format : "{in_progress}/{open}", counts, &b);
	if (status == EXIT_OK)
		status = ctx_connect(c, CTX_NEVER_START);
	if (status)
		return status;
	todo_params_begin(&pk, o);
	pk_end(&pk);
	status = ctx_call(c, "todo.lists", &params, &reply);
	if (status)
		return status;
	status_count(mp_find(buf_slice(&reply), "lists"), counts);
	if (c->json)
		return status_json(c, counts);
	buf_clear(&b);
	status = status_format(c, o->format ? o->format : "{in_progress}/{open}", counts, &b);
	return status ? status : ctx_print(c, &b);
}

/* ---- lists ---- */

int verb_todo_lists(struct ctx *c, void *options)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	_cleanup_pages_ struct pages pages = PAGES_INIT;
	(void)options;
	int status = ctx_connect(c, CTX_MAY_START);
	if (status == EXIT_OK)
		status = pages_call(c, "todo.lists", "lists", &pages);
	if (status)
		return status;
	if (c->json)
		return ctx_print_json(c, buf_slice(&pages.all));
	struct mp m = mp_of(mp_find(buf_slice(&pages.all), "lists"));
	for (uint32_t n = mp_next(&m).count; n > 0; n--) {
		text_one_line(&b, mp_get_str(mp_skip(&m), "list"), 400);
		buf_addc(&b, '\n');
	}
	return ctx_print(c, &b);
}

/* ---- log, watch ---- */

static struct slice change_find(struct slice items, struct slice id)
{
	struct mp m = mp_of(items);
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice item = mp_skip(&m);
		if (slice_eq(mp_get_str(item, "id"), id))
			return item;
	}
	return SLICE_NONE;
}

static void change_stamp(struct buf *b, int64_t time_ms)
{
	time_t t = time_ms / 1000;
	struct tm tm;
	char stamp[32] = "";
	if (time_ms && localtime_r(&t, &tm))
		strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
	buf_adds(b, stamp);
}

/* "12  2026-01-02 10:11:12  + id  content", "- id", or "id: pending -> completed". */
static void change_item(struct buf *b, struct slice change, struct slice before, struct slice after)
{
	struct slice item = after.p ? after : before, was = mp_get_str(before, "status"),
		     is = mp_get_str(after, "status");
	/* Of an event `rev` is the store's, `todo_rev` the list's, which `todo undo` takes. */
	int64_t rev = mp_get_int(change, "todo_rev", mp_get_int(change, "rev", 0));
	buf_addf(b, "%5" PRId64 "  ", rev);
	change_stamp(b, mp_get_int(change, "time", 0));
	buf_adds(b, !before.p ? "  + " : !after.p ? "  - " : "    ");
	text_one_line(b, mp_get_str(item, "id"), 80);
	buf_adds(b, "  ");
	text_one_line(b, mp_get_str(item, "content"), 200);
	if (before.p && after.p && !slice_eq(was, is))
		buf_addf(b, "  %.*s -> %.*s", SLICE_FMT(was), SLICE_FMT(is));
	buf_addc(b, '\n');
}

static void change_lines(struct buf *b, struct slice change)
{
	struct slice before = mp_find(change, "before"), after = mp_find(change, "after");
	struct mp m = mp_of(after);
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice item = mp_skip(&m);
		change_item(b, change, change_find(before, mp_get_str(item, "id")), item);
	}
	m = mp_of(before);
	list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++) {
		struct slice item = mp_skip(&m);
		if (!change_find(after, mp_get_str(item, "id")).p)
			change_item(b, change, item, SLICE_NONE);
	}
}

#define LOG_PAGE 1000

int verb_todo_log(struct ctx *c, void *options)
{
	struct todo_options *o = options;
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT, b = BUF_INIT;
	_cleanup_pages_ struct pages pages = PAGES_INIT;
	int64_t since = o->since.set ? o->since.v : 0;
	while (since >= 0) {
		struct pk pk = PK_INIT(&params);
		buf_clear(&params);
		buf_clear(&reply);
		todo_params_begin(&pk, o);
		pk_kint(&pk, "since", since);
		pk_kint(&pk, "limit", LOG_PAGE);
		int status = todo_call(c, "todo.history", &pk, &params, &reply);
		if (status)
			return status;
		since = pages_add(&pages, buf_slice(&reply), "events");
	}
	pages_end(&pages, buf_slice(&reply), "events");
	if (c->json)
		return ctx_print_json(c, buf_slice(&pages.all));
	struct mp m = mp_of(mp_find(buf_slice(&pages.all), "events"));
	struct mp_value list = mp_next(&m);
	for (uint32_t i = 0; list.type == MP_ARRAY && i < list.count; i++)
		change_lines(&b, mp_skip(&m));
	return ctx_print(c, &b);
}

static int watch_subscribe(struct ctx *c, const struct todo_options *o)
{
	_cleanup_buf_ struct buf params = BUF_INIT, reply = BUF_INIT;
	struct pk pk = PK_INIT(&params);
	todo_params_begin(&pk, o);
	return todo_call(c, "todo.subscribe", &pk, &params, &reply);
}

static int watch_event(struct ctx *c, struct slice event)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	if (c->json)
		return ctx_print_json(c, event);
	change_lines(&b, event);
	return ctx_print(c, &b);
}

int verb_todo_watch(struct ctx *c, void *options)
{
	_cleanup_close_ int signal_fd = signals_watch(0);
	struct conn_in in;
	int status = watch_subscribe(c, options);
	if (status == EXIT_OK)
		conn_watch_signals(c->conn, signal_fd);
	while (status == EXIT_OK) {
		enum conn_got got = conn_next(c->conn, -1, &in);
		if (got == CONN_EVENT)
			status = watch_event(c, in.body);
		if (got == CONN_SIGNAL && signals_ends(in.signal))
			return EXIT_SIGNAL + in.signal;
		if (got != CONN_CLOSED)
			continue;
		status = ctx_reconnect(c, signal_fd);
		if (status == EXIT_OK)
			status = watch_subscribe(c, options);
		if (status == EXIT_OK)
			conn_watch_signals(c->conn, signal_fd);
	}
	return status;
}
