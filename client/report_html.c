#include "client/report.h"
#include "client/report_html.h"

#include <inttypes.h>
#include <time.h>

#include "client/html.h"
#include "common/text.h"
#include "common/timeutil.h"
#include "proto/mp.h"

#define PATH_SHOWN 100

static const char style[] =
	":root{color-scheme:light dark;--fg:#1b1f24;--dim:#57606a;--bg:#fff;--box:#f3f5f7;--line:#d0d7de;"
	"--ok:#1a7f37;--bad:#cf222e;--run:#0969da;--warn:#9a6700;--none:#8c959f;--on:#fff}\n"
	"@media (prefers-color-scheme:dark){:root{--fg:#e6edf3;--dim:#9198a1;--bg:#0d1117;--box:#161b22;"
	"--line:#30363d;--ok:#3fb950;--bad:#f85149;--run:#58a6ff;--warn:#d29922;--none:#6e7681;--on:#0d1117}}\n"
	"body{font:15px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:75rem;"
	"margin:0 auto;padding:1rem}\n"
	"h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.15rem;margin:1.6em 0 .4em}h3{font-size:1rem;"
	"margin:1.2em 0 .3em}h1,h2,h3,p{overflow-wrap:anywhere}\n"
	"code,pre{font:13px/1.45 ui-monospace,monospace}code{overflow-wrap:anywhere}\n"
	"pre{background:var(--box);padding:.5em .7em;margin:.3em 0;overflow-x:auto;white-space:pre-wrap;"
	"overflow-wrap:anywhere}\n"
	"table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.25em "
	".6em .25em 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}th{color:var(--dim);"
	"font-weight:600;overflow-wrap:normal}td:first-child{min-width:4em}\n"
	"td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
	".dim,.limit{color:var(--dim)}.limit{font-style:italic}.s{font-weight:600;overflow-wrap:normal}\n"
	".s.succeeded,.s.completed{color:var(--ok)}.s.failed,.s.interrupted{color:var(--bad)}\n"
	".e{font-weight:600;color:var(--bad)}.s.running,.s.in_progress{color:var(--run)}.s.cancelled,.s.paused{color:var(--warn)}\n"
	".bars{display:grid;grid-template-columns:max-content 1fr;gap:.2em .8em;align-items:center}\n"
	".bars i{display:block;height:.8em;background:var(--none)}.bars i.ran{background:var(--run)}\n"
	".timeline{border:1px solid var(--line);padding:0 .3em .3em;overflow:hidden}\n"
	".axis{position:relative;height:1.6em;color:var(--dim);font-size:12px}.axis span{position:absolute;"
	"border-left:1px solid var(--line);padding-left:.2em;white-space:nowrap}\n"
	".lane{position:relative;height:1.5em;margin:2px 0;background:var(--box)}\n"
	".lane a{position:absolute;top:0;bottom:0;min-width:3px;box-sizing:border-box;overflow:hidden;"
	"white-space:nowrap;text-overflow:ellipsis;font-size:12px;line-height:1.9;padding-left:.2em;"
	"color:var(--on);background:var(--none);text-decoration:none;border-right:1px solid var(--bg)}\n"
	".lane a.succeeded{background:var(--ok)}.lane a.failed,.lane a.interrupted{background:var(--bad)}\n"
	".lane a.running{background:var(--run)}.lane a.cancelled{background:var(--warn)}\n"
	".lane a.critical{border-bottom:4px solid var(--fg)}.messages a{color:var(--fg);background:none;"
	"border-left:1px solid var(--dim);border-right:0}\n"
	":target{outline:2px solid var(--run)}summary{cursor:pointer;color:var(--dim)}\n"
	/* On a phone an op is a block: a long id would leave its output no room beside it. */
	"@media (max-width:40rem){.ops th{display:none}.ops tr{display:block;border-bottom:1px solid "
	"var(--line)}.ops td{display:inline-block;border:0}.ops td:last-child{display:block}}\n"
	"@media print{.timeline{break-inside:avoid}}\n";

static void page_text(struct buf *b, const char *before, struct slice text, const char *after)
{
	buf_adds(b, before);
	html_text(b, text);
	buf_adds(b, after);
}

static void page_time(struct buf *b, int64_t wall_ms)
{
	time_t at = (time_t)(wall_ms / 1000);
	char text[40];
	struct tm tm;
	if (wall_ms <= 0 || !localtime_r(&at, &tm) ||
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %z", &tm) == 0)
		return;
	buf_adds(b, text);
}

static void page_state(struct buf *b, struct slice state)
{
	page_text(b, "<span class=\"s ", state, "\">");
	page_text(b, "", state, "</span>");
}

static void page_title(const struct story *s, struct buf *b)
{
	struct slice name = mp_get_str(s->head, "name");
	buf_addf(b, "Run %" PRId64, s->run);
	if (name.len)
		page_text(b, " (", name, ")");
}

static void page_head(const struct story *s, struct buf *b)
{
	buf_adds(b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
		    "<meta name=\"color-scheme\" content=\"light dark\">\n"
		    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
		    "style-src 'unsafe-inline'\">\n<title>");
	page_title(s, b);
	page_text(b, ": ", mp_get_str(s->head, "state"), "</title>\n<style>\n");
	buf_adds(b, style);
	buf_adds(b, "</style>\n</head>\n<body>\n<header>\n<h1>");
	page_title(s, b);
	buf_addc(b, ' ');
	page_state(b, mp_get_str(s->head, "state"));
	buf_adds(b, "</h1>\n<p>");
	report_closing(b, s->head, s->total);
	buf_adds(b, ".</p>\n<p class=\"dim\">");
	page_time(b, mp_get_int(s->head, "started", mp_get_int(s->head, "created", 0)));
	page_text(b, " in <code>", mp_get_str(s->head, "cwd"), "</code></p>\n</header>\n<main>\n");
}

static void page_bar(struct buf *b, const char *what, const char *class, int64_t ms, int64_t most)
{
	buf_addf(b, "<span>%s ", what);
	duration_human(b, ms);
	buf_addf(b, "</span><i%s style=\"width:%.2f%%\"></i>\n", class,
		 100.0 * (double)ms / (double)MAX2(most, 1));
}

static void page_speed(const struct story *s, struct buf *b)
{
	struct slice sum = mp_find(s->head, "summary");
	int64_t wall = mp_get_int(sum, "wall_ms", 0), serial = mp_get_int(sum, "serial_ms", 0),
		critical = mp_get_int(sum, "critical_ms", 0);
	int64_t most = MAX2(MAX2(wall, serial), critical);
	buf_adds(b, "<section>\n<h2>Speed-up</h2>\n<div class=\"bars\">\n");
	page_bar(b, "one after another", "", serial, most);
	page_bar(b, "as it ran", " class=\"ran\"", wall, most);
	if (critical > 0)
		page_bar(b, "longest chain", "", critical, most);
	buf_adds(b, "</div>\n</section>\n");
}

static void page_op_link(const struct story *s, const struct story_op *o, struct buf *b)
{
	struct slice id = mp_get_str(o->op, "id");
	buf_addf(b, "<a href=\"#op%" PRIu32 "\">%" PRId64 ".", o->index, s->run);
	if (id.len)
		html_text(b, id);
	else
		buf_addf(b, "%" PRIu32, o->index);
	buf_adds(b, "</a>");
}

static void page_duration(struct buf *b, int64_t ms)
{
	buf_adds(b, "<td class=\"n\">");
	if (ms >= 0)
		duration_human(b, ms);
	buf_adds(b, "</td>");
}

static void page_path(const struct story *s, struct buf *b)
{
	int64_t before = s->from;
	if (s->n_path < 2)
		return;
	buf_adds(
		b,
		"<section>\n<h2>Critical path</h2>\n<p class=\"dim\">The chain of ops that the run's "
		"length is made of: to make the run shorter, make one of these shorter.</p>\n"
		"<table>\n<tr><th>op</th><th class=\"n\">waited</th><th class=\"n\">took</th>"
		"<th>what</th></tr>\n");
	for (uint32_t i = 0; i < MIN2(s->n_path, (uint32_t)PATH_SHOWN); i++) {
		const struct story_op *o = &s->ops[s->path[i]];
		buf_adds(b, "<tr><td>");
		page_op_link(s, o, b);
		buf_adds(b, "</td>");
		page_duration(b, MAX2(o->started - before, 0));
		page_duration(b, o->ended - o->started);
		page_text(b, "<td><code>", mp_get_str(o->op, "text"), "</code></td></tr>\n");
		before = o->ended;
	}
	buf_adds(b, "</table>\n");
	if (s->n_path > PATH_SHOWN)
		buf_addf(b, "<p class=\"limit\">The first %d of %" PRIu32 ".</p>\n", PATH_SHOWN,
			 s->n_path);
	buf_adds(b, "</section>\n");
}

/* The first and last bytes of what it printed; what lies between is counted. */
static void page_output(const struct story_op *o, struct buf *b)
{
	struct slice out = mp_find(o->op, "out"), head = mp_get_str(out, "head"),
		     tail = mp_get_str(out, "tail");
	int64_t dropped = mp_get_int(out, "dropped", 0);
	int64_t bytes = mp_get_int(o->op, "stdout_bytes", 0) + mp_get_int(o->op, "stderr_bytes", 0);
	if (head.len + tail.len == 0 && dropped == 0)
		return;
	buf_addf(b, "<details%s><summary>output, %" PRId64 " byte%s</summary>",
		 report_op_failed(o) ? " open" : "", bytes, PLURAL(bytes));
	/* The newline after <pre> is not part of it. */
	page_text(b, "<pre>\n", head, "");
	if (dropped > 0)
		buf_addf(b, "</pre><p class=\"limit\">%" PRId64 " byte%s not shown</p><pre>\n",
			 dropped, dropped == 1 ? " is" : "s are");
	page_text(b, "", tail, "</pre></details>");
}

static void page_op(const struct story *s, const struct story_op *o, struct buf *b)
{
	_cleanup_buf_ struct buf why = BUF_INIT;
	struct slice todo = mp_get_str(o->op, "todo"), about = mp_get_str(o->op, "description");
	report_op_why(o, &why);
	buf_addf(b, "<tr id=\"op%" PRIu32 "\"><td>", o->index);
	page_op_link(s, o, b);
	page_text(b, "</td><td><span class=\"s ", mp_get_str(o->op, "state"), "\">");
	page_text(b, "", buf_slice(&why), "</span></td>");
	page_duration(b, report_op_ms(o));
	page_text(b, "<td><span class=\"dim\">", mp_get_str(o->op, "kind"), "</span> ");
	page_text(b, "<code>", mp_get_str(o->op, "text"), "</code>");
	if (about.len)
		page_text(b, "<br>", about, "");
	if (todo.len)
		page_text(b, "<br><span class=\"dim\">todo ", todo, "</span>");
	page_output(o, b);
	buf_adds(b, "</td></tr>\n");
}

static void page_message(const struct story *s, uint32_t first, uint32_t end, struct slice message,
			 struct buf *b)
{
	struct slice name = mp_get_str(message, "name");
	uint32_t number = s->ops[first].message;
	buf_addf(b, "<h3 id=\"m%" PRIu32 "\">Message %" PRIu32, number, number);
	if (name.len)
		page_text(b, ": ", name, "");
	buf_addc(b, ' ');
	page_state(b, mp_get_str(message, "state"));
	buf_adds(
		b,
		"</h3>\n<table class=\"ops\">\n<tr><th>op</th><th>state</th><th class=\"n\">took</th><th>what</th></tr>\n");
	for (uint32_t i = first; i < end; i++)
		page_op(s, &s->ops[i], b);
	buf_adds(b, "</table>\n");
}

static void page_ops(const struct story *s, struct buf *b)
{
	struct mp m = mp_of(mp_find(s->head, "messages"));
	struct mp_value list = mp_next(&m);
	uint32_t left = list.type == MP_ARRAY ? list.count : 0;
	buf_adds(b, "<section>\n<h2>Ops</h2>\n");
	if (s->n < s->total)
		buf_addf(b,
			 "<p class=\"limit\">The first %" PRIu32 " of %" PRIu32
			 " ops; `batchctl report --limit N` takes more, `batchctl status %" PRId64
			 "` lists all.</p>\n",
			 s->n, s->total, s->run);
	for (uint32_t i = 0, end; i < s->n; i = end) {
		struct slice message = left > 0 ? mp_skip(&m) : SLICE_NONE;
		left -= left > 0;
		for (end = i; end < s->n && s->ops[end].message == s->ops[i].message; end++)
			;
		page_message(s, i, end, message, b);
	}
	buf_adds(b, "</section>\n");
}

static void page_todos(struct slice todos, struct buf *b)
{
	struct mp m = mp_of(todos);
	struct mp_value list = mp_next(&m);
	if (!todos.p || list.type != MP_ARRAY || list.count == 0)
		return;
	buf_adds(
		b,
		"<section>\n<h2>Todos</h2>\n<table>\n<tr><th>todo</th><th>status</th><th>what</th></tr>\n");
	for (uint32_t i = 0; i < list.count; i++) {
		struct slice item = mp_skip(&m), error = mp_get_str(item, "error");
		page_text(b, "<tr><td>", mp_get_str(item, "id"), "</td><td>");
		page_state(b, mp_get_str(item, "status"));
		page_text(b, "</td><td>", mp_get_str(item, "content"), "");
		if (error.len)
			page_text(b, "<br><span class=\"e\">", error, "</span>");
		buf_adds(b, "</td></tr>\n");
	}
	buf_adds(b, "</table>\n</section>\n");
}

static void page_foot(const struct story *s, struct buf *b)
{
	bool well = slice_is(mp_get_str(s->head, "state"), "succeeded");
	buf_adds(b, "</main>\n<footer class=\"dim\">\n");
	if (!well && mp_get_int(s->head, "ended", 0))
		buf_addf(
			b,
			"<p>What failed and what did not run, again: <code>batchctl restart --failed "
			"%" PRId64 "</code></p>\n",
			s->run);
	buf_adds(b, "<p>Written by batchctl " BATCHD_VERSION ", ");
	page_time(b, s->now);
	buf_adds(b, ".</p>\n</footer>\n</body>\n</html>\n");
}

void report_html(const struct story *s, struct slice todos, struct buf *b)
{
	page_head(s, b);
	page_speed(s, b);
	buf_adds(
		b,
		"<section>\n<h2>Timeline</h2>\n<p class=\"dim\">A row a slot, a bar an op; underlined: "
		"on the critical path.</p>\n");
	report_timeline(s, b);
	buf_adds(b, "</section>\n");
	page_path(s, b);
	page_todos(todos, b);
	page_ops(s, b);
	page_foot(s, b);
}
