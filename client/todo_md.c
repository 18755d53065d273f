/* Checklists of Markdown, as GitHub and Obsidian have them: - [ ], [x], [/] (begun), [-] (dropped).
 */
#include <ctype.h>
#include <string.h>

#include "client/json.h"
#include "client/todo_format.h"

#define MD_DEPTH 32

static const struct {
	char mark;
	const char *status;
} marks[] = {
	{ ' ', "pending" },	{ 'x', "completed" },	{ 'X', "completed" },
	{ '/', "in_progress" }, { '~', "in_progress" }, { '-', "cancelled" },
};

/* What a list says of an item that the line itself or batchd says. */
static bool md_is_said(const json_t *item, const char *key, const json_t *value)
{
	static const char *const own[] = { "status",	 "rev",	      "position", "created",
					   "started",	 "completed", "updated",  "run",
					   "list",	 "source",    "claim",	  "lease",
					   "lease_until" };
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		if (strcmp(key, own[i]) == 0)
			return true;
	if (strcmp(key, "priority") == 0 && strcmp(json_string_value(value), "medium") == 0)
		return true;
	if (strcmp(key, "content") == 0) {
		const char *text = json_string_value(value);
		size_t len = strlen(text);
		return json_string_length(value) == len && len && !strpbrk(text, "\n\r") &&
		       !strstr(text, "<!--") && !isspace((unsigned char)text[0]) &&
		       !isspace((unsigned char)text[len - 1]);
	}
	(void)item;
	return json_is_null(value) || (json_is_array(value) && !json_array_size(value)) ||
	       (json_is_object(value) && !json_object_size(value));
}

/* JSON that cannot end the comment it stands in, nor begin one: < and > are escaped. */
static void md_comment(const json_t *rest, struct buf *out)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	json_print(rest, JSON_LINE, &text);
	buf_adds(out, " <!-- ");
	for (size_t i = 0; i < text.len; i++) {
		if (text.p[i] == '<' || text.p[i] == '>')
			buf_adds(out, text.p[i] == '<' ? "\\u003c" : "\\u003e");
		else
			buf_addc(out, text.p[i]);
	}
	buf_adds(out, " -->");
}

static void md_write_item(const json_t *item, struct buf *out)
{
	_cleanup_json_ json_t *rest = json_object();
	const char *key, *content = todo_str(item, "content");
	json_t *value;
	char mark = ' ';
	json_object_foreach((json_t *)item, key, value) if (!md_is_said(item, key, value))
		json_object_set(rest, key, value);
	for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
		if (strcmp(marks[i].status, todo_str(item, "status")) == 0 && marks[i].mark != '~')
			mark = marks[i].mark == 'X' ? 'x' : marks[i].mark;
	buf_addf(out, "- [%c] ", mark);
	for (; *content; content++)
		buf_addc(out, *content == '\n' || *content == '\r' ? ' ' : *content);
	if (json_object_size(rest))
		md_comment(rest, out);
	buf_addc(out, '\n');
}

void todo_md_write(const json_t *items, struct buf *out)
{
	for (size_t i = 0; i < json_array_size(items); i++)
		md_write_item(json_array_get(items, i), out);
}

/* ---- reading ---- */

struct md {
	struct slice left; /* of the line */
	size_t indent;
	const char *status;
};

/* "  - [x] " or "  1. [x] "; false: no item of a checklist. */
static bool md_head(struct slice line, struct md *ret)
{
	size_t i = 0, mark;
	for (ret->indent = 0; i < line.len && (line.p[i] == ' ' || line.p[i] == '\t'); i++)
		ret->indent += line.p[i] == '\t' ? 4 : 1;
	size_t digits = i;
	while (digits < line.len && isdigit((unsigned char)line.p[digits]))
		digits++;
	if (digits > i && digits < line.len && (line.p[digits] == '.' || line.p[digits] == ')'))
		i = digits + 1;
	else if (i < line.len && strchr("-*+", line.p[i]) && line.p[i])
		i++;
	else
		return false;
	while (i < line.len && line.p[i] == ' ')
		i++;
	if (i + 3 > line.len || line.p[i] != '[' || line.p[i + 2] != ']' ||
	    (i + 3 < line.len && line.p[i + 3] != ' ' && line.p[i + 3] != '\t'))
		return false;
	for (mark = 0; mark < ARRAY_SIZE(marks) && marks[mark].mark != line.p[i + 1];)
		mark++;
	if (mark == ARRAY_SIZE(marks))
		return false;
	ret->status = marks[mark].status;
	ret->left = slice_of(line.p + i + 3, line.len - i - 3);
	return true;
}

static struct slice md_trim(struct slice s)
{
	while (s.len && isspace((unsigned char)s.p[0]))
		s = slice_of(s.p + 1, s.len - 1);
	while (s.len && isspace((unsigned char)s.p[s.len - 1]))
		s.len--;
	return s;
}

/* Takes a comment that holds a JSON object off the end. */
static void md_take_comment(struct slice *left, json_t *item)
{
	struct err e = ERR_INIT;
	json_t *rest = NULL;
	const char *open = NULL;
	for (size_t i = 0; i + 4 <= left->len; i++)
		open = memcmp(left->p + i, "<!--", 4) == 0 ? left->p + i : open;
	struct slice whole = md_trim(*left);
	if (!open || whole.len < 7 || memcmp(whole.p + whole.len - 3, "-->", 3) != 0)
		return;
	struct slice inner = slice_of(open + 4, (size_t)(whole.p + whole.len - 3 - (open + 4)));
	if (json_read(md_trim(inner), "", &rest, &e) == 0 && json_is_object(rest)) {
		json_object_update(item, rest);
		*left = slice_of(left->p, (size_t)(open - left->p));
	}
	json_decref(rest);
}

/* An item that others are part of needs an id: its text, as one word. */
static const char *md_id(json_t *item, const json_t *items)
{
	_cleanup_buf_ struct buf id = BUF_INIT;
	if (*todo_str(item, "id"))
		return todo_str(item, "id");
	for (const char *p = todo_str(item, "content"); *p && id.len < 40; p++) {
		if (isalnum((unsigned char)*p))
			buf_addc(&id, (char)tolower((unsigned char)*p));
		else if (id.len && id.p[id.len - 1] != '-')
			buf_addc(&id, '-');
	}
	if (!id.len || strspn(buf_str(&id), "0123456789") == id.len)
		buf_adds(&id, "item");
	if (id.p[id.len - 1] == '-')
		id.len--;
	size_t plain = id.len;
	for (size_t i = 0, n = 2; i < json_array_size(items); i++)
		if (strcmp(todo_str(json_array_get(items, i), "id"), buf_str(&id)) == 0) {
			id.len = plain;
			buf_addf(&id, "-%zu", n++);
			i = (size_t)-1;
		}
	todo_set(item, "id", buf_slice(&id));
	return todo_str(item, "id");
}

int todo_md_read(struct slice text, const char *name, json_t *items, struct err *e)
{
	struct {
		size_t indent;
		json_t *item;
	} above[MD_DEPTH];
	size_t depth = 0;
	struct slice line;
	struct md md;
	while (todo_line(&text, &line)) {
		if (!md_head(line, &md))
			continue;
		json_t *item = json_object();
		json_array_append_new(items, item);
		while (depth && above[depth - 1].indent >= md.indent)
			depth--;
		md_take_comment(&md.left, item);
		todo_set(item, "status", slice_str(md.status));
		if (!json_object_get(item, "content"))
			todo_set(item, "content", md_trim(md.left));
		if (depth && !json_object_get(item, "parent"))
			todo_set(item, "parent", slice_str(md_id(above[depth - 1].item, items)));
		if (depth < MD_DEPTH) {
			above[depth].indent = md.indent;
			above[depth++].item = item;
		}
	}
	if (json_array_size(items) == 0)
		return err_set(e, 0, "'%s' holds no checklist: write `- [ ] text`", name);
	return 0;
}
