/* A run as a model reads it: what failed first, and of each op's output the head and the tail, with
 * exact counts and how to read the rest. */
#include <string.h>

#include "client/json.h"
#include "client/mcp.h"
#include "common/text.h"

json_t *mcp_lossy(struct slice bytes, bool *ret_lossy)
{
	_cleanup_buf_ struct buf b = BUF_INIT;
	*ret_lossy = false;
	for (size_t i = 0, n; i < bytes.len; i += n ? n : 1) {
		n = utf8_len(slice_of(bytes.p + i, bytes.len - i));
		buf_add(&b, n ? bytes.p + i : "\xef\xbf\xbd", n ? n : 3);
		*ret_lossy |= n == 0;
	}
	return json_stringn(b.p ? b.p : "", b.len);
}

void mcp_bytes(const json_t *v, struct buf *ret)
{
	const json_t *base64 = json_is_bin(v) ? json_object_get(v, "$bin") : NULL;
	if (base64)
		base64_decode(slice_of(json_string_value(base64), json_string_length(base64)), ret);
	else if (json_is_string(v))
		buf_add(ret, json_string_value(v), json_string_length(v));
}

static bool show_continues(char c)
{
	return ((unsigned char)c & 0xc0) == 0x80;
}

/* The first at most `max` bytes, without a character that is cut off at the end. */
static struct slice show_head(struct slice s, size_t max)
{
	s.len = MIN2(max, s.len);
	size_t back = 1;
	while (back < 4 && back < s.len && show_continues(s.p[s.len - back]))
		back++;
	if (s.len && (unsigned char)s.p[s.len - MIN2(back, s.len)] >= 0xc0 &&
	    utf8_len(slice_of(s.p + s.len - back, back)) == 0)
		s.len -= back;
	return s;
}

/* The last, without the rest of a character at the beginning. */
static struct slice show_tail(struct slice s, size_t max)
{
	size_t n = MIN2(max, s.len);
	for (int i = 0; i < 3 && n > 0 && show_continues(s.p[s.len - n]); i++)
		n--;
	return slice_of(s.p + s.len - n, n);
}

static json_int_t show_int(const json_t *of, const char *key)
{
	return json_integer_value(json_object_get(of, key));
}

static json_t *show_output_text(struct slice head, struct slice tail, int64_t omitted)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	bool lossy;
	buf_addslice(&text, head);
	if (omitted)
		buf_addf(&text, "\n[... %lld bytes not shown ...]\n", (long long)omitted);
	buf_addslice(&text, tail);
	return mcp_lossy(buf_slice(&text), &lossy);
}

/* The output of an op within the room that is left; NULL where it printed nothing. */
static json_t *show_output(json_int_t run, const json_t *op, size_t *room)
{
	_cleanup_buf_ struct buf h = BUF_INIT, t = BUF_INIT;
	const json_t *out = json_object_get(op, "out");
	mcp_bytes(json_object_get(out, "head"), &h);
	mcp_bytes(json_object_get(out, "tail"), &t);
	int64_t total = (int64_t)(h.len + t.len) + show_int(out, "dropped");
	size_t most = MIN2((size_t)MCP_OP_BYTES, *room);
	if (total == 0)
		return NULL;
	struct slice head = buf_slice(&h), tail = buf_slice(&t);
	if (total > (int64_t)most) {
		/* Where there is no tail yet, head has all: its own end is the tail. */
		struct slice rest = t.len ? tail : head;
		head = show_head(head, most / 2);
		tail = show_tail(rest, most / 2);
	}
	int64_t shown = (int64_t)(head.len + tail.len), omitted = total - shown;
	*room -= (size_t)shown;
	json_t *o = json_pack("{s:o, s:I, s:I, s:I}", "text", show_output_text(head, tail, omitted),
			      "bytes", (json_int_t)total, "shown_bytes", (json_int_t)shown,
			      "omitted_bytes", (json_int_t)omitted);
	if (omitted)
		json_object_set_new(o, "read_more",
				    json_sprintf("run_output {\"run\": %lld, \"op\": %lld, "
						 "\"offset\": %zu}",
						 (long long)run, (long long)show_int(op, "index"),
						 head.len));
	return o;
}

static void show_keep(json_t *to, const json_t *from, const char *const *keys)
{
	for (; *keys; keys++) {
		json_t *v = json_object_get(from, *keys);
		if (v && !json_is_null(v))
			json_object_set(to, *keys, v);
	}
}

/* Of bytes that may be no UTF-8. */
static void show_text(json_t *to, const json_t *from, const char *key)
{
	_cleanup_buf_ struct buf text = BUF_INIT;
	bool lossy;
	mcp_bytes(json_object_get(from, key), &text);
	json_object_set_new(to, key, mcp_lossy(buf_slice(&text), &lossy));
}

static json_t *show_op(json_int_t run, const json_t *op, size_t *room)
{
	static const char *const keys[] = { "id",    "message", "kind",	  "state",
					    "cause", "exit",	"signal", "duration_ms",
					    "todo",  "error",	NULL };
	json_t *o = json_pack("{s:I}", "op", show_int(op, "index"));
	show_keep(o, op, keys);
	show_text(o, op, "text");
	json_t *output = show_output(run, op, room);
	if (output)
		json_object_set_new(o, "output", output);
	return o;
}

static bool show_has(const json_t *ops, json_int_t index)
{
	json_t *op;
	size_t i;
	json_array_foreach(ops, i, op) if (show_int(op, "op") == index) return true;
	return false;
}

static void show_ops(json_t *to, json_int_t run, const json_t *from, size_t *room)
{
	json_t *op;
	size_t i;
	json_array_foreach(json_object_get(from, "ops"), i, op)
	{
		if (json_array_size(to) >= MCP_OPS)
			return;
		if (!show_has(to, show_int(op, "index")))
			json_array_append_new(to, show_op(run, op, room));
	}
}

static json_t *show_next(json_int_t run, bool done, bool failed)
{
	if (!done)
		return json_sprintf("it still runs: run_status {\"run\": %lld, \"wait\": 50}, or "
				    "run_cancel",
				    (long long)run);
	if (failed)
		return json_sprintf("mend what failed, then run a batch of what is left");
	return NULL;
}

json_t *mcp_show_run(json_t *failed, json_t *all)
{
	static const char *const keys[] = { "run", "state", "name", "summary", NULL };
	static const char *const over[] = { "succeeded", "failed", "cancelled", "interrupted" };
	json_t *o = json_object(), *ops = json_array();
	json_int_t run = show_int(all, "run");
	const char *state = json_string_value(json_object_get(all, "state"));
	size_t room = MCP_BATCH_BYTES;
	bool done = false;
	for (size_t i = 0; i < ARRAY_SIZE(over); i++)
		done |= strcmp(state, over[i]) == 0;
	show_keep(o, all, keys);
	show_text(o, all, "cwd");
	json_object_set_new(o, "done", json_boolean(done));
	show_ops(ops, run, failed, &room);
	show_ops(ops, run, all, &room);
	json_object_set_new(o, "ops", ops);
	json_int_t left = show_int(all, "ops_total") - (json_int_t)json_array_size(ops);
	if (left > 0)
		json_object_set_new(o, "ops_omitted", json_integer(left));
	json_t *next = show_next(run, done, done && strcmp(state, "succeeded") != 0);
	if (next)
		json_object_set_new(o, "next", next);
	return o;
}
