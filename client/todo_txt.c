/*
 * todo.txt (github.com/todotxt/todo.txt): `x (A) completed created text +project @context
 * key:value`. A is high, B or none medium, C and below low. What stands at the end of a line is
 * read as keys and tags, what stands within the text stays there. Values are percent-encoded where
 * they need be.
 */
#include <ctype.h>
#include <string.h>
#include <time.h>

#include "client/json.h"
#include "client/todo_format.h"

/* Keys whose value is a str of the item. */
static const struct {
	const char *word, *key;
} txt_keys[] = {
	{ "id", "id" },
	{ "status", "status" },
	{ "owner", "owner" },
	{ "parent", "parent" },
	{ "at", "at" },
	{ "description", "description" },
	{ "active", "active_form" },
	{ "error", "error" },
	{ "content", "content" },
};

static void txt_encode(struct slice s, struct buf *out, const char *also)
{
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];
		if (c <= ' ' || c == '%' || c == 127 || strchr(also, c))
			buf_addf(out, "%%%02X", c);
		else
			buf_addc(out, (char)c);
	}
}

static void txt_decode(struct slice s, struct buf *out)
{
	for (size_t i = 0; i < s.len; i++) {
		char hex[3] = "";
		if (s.p[i] == '%' && i + 2 < s.len && isxdigit((unsigned char)s.p[i + 1]) &&
		    isxdigit((unsigned char)s.p[i + 2])) {
			memcpy(hex, s.p + i + 1, 2);
			buf_addc(out, (char)strtol(hex, NULL, 16));
			i += 2;
		} else {
			buf_addc(out, s.p[i]);
		}
	}
}

/* ---- reading ---- */

static bool txt_is_date(struct slice s)
{
	static const char form[] = "dddd-dd-dd";
	for (size_t i = 0; i < sizeof(form) - 1; i++)
		if (i >= s.len ||
		    (form[i] == 'd' ? !isdigit((unsigned char)s.p[i]) : s.p[i] != '-'))
			return false;
	return s.len == sizeof(form) - 1;
}

static struct slice txt_skip(struct slice s, size_t n)
{
	while (n < s.len && s.p[n] == ' ')
		n++;
	return slice_of(s.p + n, s.len - n);
}

static size_t txt_word(struct slice s)
{
	const char *blank = memchr(s.p, ' ', s.len);
	return blank ? (size_t)(blank - s.p) : s.len;
}

static void txt_priority(json_t *item, char letter)
{
	todo_set(item, "priority",
		 slice_str(letter == 'A'   ? "high"
			   : letter == 'B' ? "medium"
					   : "low"));
	if (letter != 'A' && letter != 'C')
		json_object_set_new(item, "meta",
				    json_pack("{s:s%}", "todotxt", &letter, (size_t)1));
}

/* "x (A) date date " */
static struct slice txt_head(struct slice s, json_t *item)
{
	bool done = s.len > 1 && s.p[0] == 'x' && s.p[1] == ' ';
	todo_set(item, "status", slice_str(done ? "completed" : "pending"));
	if (done)
		s = txt_skip(s, 1);
	if (s.len > 3 && s.p[0] == '(' && isupper((unsigned char)s.p[1]) && s.p[2] == ')' &&
	    s.p[3] == ' ') {
		txt_priority(item, s.p[1]);
		s = txt_skip(s, 3);
	}
	for (int i = 0; i < 1 + done && txt_is_date(slice_of(s.p, txt_word(s))); i++)
		s = txt_skip(s, txt_word(s));
	return s;
}

static void txt_add_names(json_t *item, const char *key, struct slice names)
{
	json_t *list = json_object_get(item, key);
	if (!list)
		json_object_set_new(item, key, list = json_array());
	/* they are read from the end of the line */
	for (size_t i = 0, n, at = 0; i < names.len; i += n + 1) {
		_cleanup_buf_ struct buf one = BUF_INIT;
		for (n = 0; i + n < names.len && names.p[i + n] != ',';)
			n++;
		txt_decode(slice_of(names.p + i, n), &one);
		json_array_insert_new(list, at++, json_stringn(one.len ? one.p : "", one.len));
	}
}

/* Is the word one of ours, a tag or a key? Then it is in the item. */
static bool txt_take(struct slice word, json_t *item)
{
	_cleanup_buf_ struct buf value = BUF_INIT;
	if (word.len > 1 && (word.p[0] == '@' || word.p[0] == '+') &&
	    !memchr(word.p, ',', word.len)) {
		txt_add_names(item, "tags",
			      slice_of(word.p + (word.p[0] == '@'), word.len - (word.p[0] == '@')));
		return true;
	}
	const char *colon = memchr(word.p, ':', word.len);
	if (!colon || colon + 1 == word.p + word.len)
		return false;
	struct slice key = slice_of(word.p, (size_t)(colon - word.p));
	struct slice text = slice_of(colon + 1, word.len - key.len - 1);
	if (slice_is(key, "needs") || slice_is(key, "dep")) {
		txt_add_names(item, "blocked_by", text);
		return true;
	}
	if (slice_is(key, "pri") && text.len == 1 && isupper((unsigned char)text.p[0])) {
		txt_priority(item, text.p[0]);
		return true;
	}
	txt_decode(text, &value);
	for (size_t i = 0; i < ARRAY_SIZE(txt_keys); i++)
		if (slice_is(key, txt_keys[i].word)) {
			todo_set(item, txt_keys[i].key, buf_slice(&value));
			return true;
		}
	return false;
}

static void txt_item(struct slice line, json_t *item)
{
	struct slice s = txt_head(line, item);
	for (;;) {
		while (s.len && s.p[s.len - 1] == ' ')
			s.len--;
		size_t from = s.len;
		while (from && s.p[from - 1] != ' ')
			from--;
		struct slice word = slice_of(s.p + from, s.len - from);
		bool whole = word.len > 8 && memcmp(word.p, "content:", 8) == 0;
		if ((!from && !whole) || !txt_take(word, item))
			break;
		s.len = from;
	}
	if (!json_object_get(item, "content"))
		todo_set(item, "content", s);
}

int todo_txt_read(struct slice text, const char *name, json_t *items, struct err *e)
{
	struct slice line;
	for (int number = 1; todo_line(&text, &line); number++) {
		line = txt_skip(line, 0);
		if (!line.len)
			continue;
		json_t *item = json_object();
		json_array_append_new(items, item);
		txt_item(line, item);
		if (!*todo_str(item, "content"))
			return err_set(e, 0, "%s:%d: an item without a text", name, number);
	}
	return 0;
}

/* ---- writing ---- */

static void txt_date(const json_t *item, const char *key, struct buf *out)
{
	json_int_t ms = json_integer_value(json_object_get(item, key));
	time_t t = (time_t)(ms / 1000);
	struct tm tm;
	char date[16];
	if (ms > 0 && gmtime_r(&t, &tm) && strftime(date, sizeof(date), "%Y-%m-%d", &tm))
		buf_addf(out, "%s ", date);
}

static char txt_letter(const json_t *item)
{
	const char *said = todo_str(json_object_get(item, "meta"), "todotxt");
	const char *priority = todo_str(item, "priority");
	if (isupper((unsigned char)said[0]) && !said[1])
		return said[0];
	return strcmp(priority, "high") == 0 ? 'A' : strcmp(priority, "low") == 0 ? 'C' : 0;
}

static void txt_write_head(const json_t *item, struct buf *out)
{
	const char *status = todo_str(item, "status");
	bool done = strcmp(status, "completed") == 0 || strcmp(status, "cancelled") == 0;
	char letter = txt_letter(item);
	if (done)
		buf_adds(out, "x ");
	if (letter && !done)
		buf_addf(out, "(%c) ", letter);
	size_t before = out->len;
	if (done)
		txt_date(item, "completed", out);
	/* a date alone would be that of its end */
	if (!done || out->len > before)
		txt_date(item, "created", out);
}

static void txt_write_names(const json_t *item, const char *key, const char *before,
			    struct buf *out)
{
	const json_t *list = json_object_get(item, key);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *one = json_array_get(list, i);
		const char *name = json_string_value(one);
		bool project = *before == '@' && name[0] == '+' && name[1];
		buf_adds(out, *before == '@' ? (project ? " " : " @") : i ? "," : before);
		txt_encode(slice_of(name, json_string_length(one)), out, ",");
	}
}

static void txt_write_keys(const json_t *item, struct buf *out)
{
	const char *status = todo_str(item, "status");
	char letter = txt_letter(item);
	txt_write_names(item, "tags", "@", out);
	txt_write_names(item, "blocked_by", " needs:", out);
	if (letter && (strcmp(status, "completed") == 0 || strcmp(status, "cancelled") == 0))
		buf_addf(out, " pri:%c", letter);
	for (size_t i = 0; i < ARRAY_SIZE(txt_keys); i++) {
		const json_t *value = json_object_get(item, txt_keys[i].key);
		bool plain = strcmp(status, "in_progress") != 0 && strcmp(status, "cancelled") != 0;
		if (strcmp(txt_keys[i].key, "content") == 0 ||
		    (strcmp(txt_keys[i].key, "status") == 0 && plain) || !json_string_length(value))
			continue;
		buf_addf(out, " %s:", txt_keys[i].word);
		txt_encode(slice_of(json_string_value(value), json_string_length(value)), out, "");
	}
}

/* With `exact` the text is encoded, and so cannot be taken for tags, keys or a date. */
static void txt_line(const json_t *item, bool exact, struct buf *out)
{
	const json_t *content = json_object_get(item, "content");
	struct slice text = slice_of(json_string_value(content), json_string_length(content));
	txt_write_head(item, out);
	if (exact) {
		buf_adds(out, "content:");
		txt_encode(text, out, "");
	} else {
		buf_addslice(out, text);
	}
	txt_write_keys(item, out);
}

static bool txt_reads_back(const json_t *item, const struct buf *line)
{
	_cleanup_json_ json_t *again = json_object();
	static const char *const keys[] = { "content", "priority", "tags", "blocked_by" };
	if (memchr(line->p, '\n', line->len) || memchr(line->p, '\r', line->len))
		return false;
	txt_item(buf_slice(line), again);
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const json_t *was = json_object_get(item, keys[i]);
		const json_t *is = json_object_get(again, keys[i]);
		if (is && !json_equal(was, is))
			return false;
	}
	return true;
}

static void txt_write_item(const json_t *item, struct buf *out)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	txt_line(item, false, &line);
	if (!txt_reads_back(item, &line)) {
		buf_clear(&line);
		txt_line(item, true, &line);
	}
	buf_addslice(out, buf_slice(&line));
	buf_addc(out, '\n');
}

void todo_txt_write(const json_t *items, struct buf *out)
{
	for (size_t i = 0; i < json_array_size(items); i++)
		txt_write_item(json_array_get(items, i), out);
}
