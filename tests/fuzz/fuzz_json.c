/*
 * Any bytes as JSON and as MessagePack: what is read survives being printed and read again, as
 * lines, pretty and straight from MessagePack; what base64 gives it takes. Straight to MessagePack
 * it becomes what it becomes by way of the tree.
 */
#include <string.h>

#include "client/batchfile.h"
#include "client/json.h"
#include "client/json_text.h"
#include "common/text.h"
#include "proto/limits.h"
#include "proto/pack.h"
#include "proto/scan.h"
#include "tests/fuzz/fuzz.h"

static json_t *json_again(const char *how, struct buf *text)
{
	struct err e = ERR_INIT;
	json_t *v;
	if (json_read(buf_slice(text), "again", &v, &e)) {
		fprintf(stderr, "%s is refused: %s\n%s\n", how, e.text, buf_str(text));
		abort();
	}
	return v;
}

static void json_same(const char *how, const json_t *v, struct buf *text)
{
	_cleanup_json_ json_t *again = json_again(how, text);
	if (!json_equal(v, again)) {
		fprintf(stderr, "%s changed it:\n%s\n", how, buf_str(text));
		abort();
	}
	buf_clear(text);
}

/* In MessagePack {$bin: ...} that is UTF-8 becomes a string; from then on nothing changes. */
static void json_from_packed(struct slice packed)
{
	_cleanup_buf_ struct buf again = BUF_INIT, text = BUF_INIT;
	_cleanup_json_ json_t *v = NULL, *same = NULL;
	struct err e = ERR_INIT;
	json_print_mp(packed, JSON_LINE, &text);
	HOLDS(utf8_valid(buf_slice(&text)));
	if (json_from_mp(packed, &v, &e)) {
		HOLDS(e.text[0] != '\0');
		return;
	}
	json_same("MessagePack as a line", v, &text);
	json_print_mp(packed, JSON_PRETTY, &text);
	json_same("MessagePack, pretty", v, &text);
	HOLDS(json_to_mp(v, &again, &e) == 0);
	HOLDS(json_from_mp(buf_slice(&again), &same, &e) == 0 && json_equal(v, same));
}

static void json_text(struct slice in)
{
	_cleanup_buf_ struct buf text = BUF_INIT, packed = BUF_INIT;
	_cleanup_json_ json_t *v = NULL;
	struct err e = ERR_INIT;
	struct scan s;
	size_t used;
	if (json_read(in, "fuzz", &v, &e)) {
		HOLDS(strncmp(e.text, "fuzz:", 5) == 0);
		return;
	}
	json_print(v, JSON_LINE, &text);
	HOLDS(!memchr(buf_str(&text), '\n', text.len));
	json_same("a line", v, &text);
	json_print(v, JSON_PRETTY, &text);
	json_same("pretty", v, &text);
	if (json_to_mp(v, &packed, &e)) {
		HOLDS(e.text[0] != '\0');
		return;
	}
	scan_init(&s);
	HOLDS(scan_feed(&s, packed.p, packed.len, &used) == SCAN_DONE && used == packed.len);
	json_from_packed(buf_slice(&packed));
}

/* What goes straight to MessagePack goes there by way of the tree too, and to the same bytes; what
 * does not leaves nothing behind. */
static void json_straight(struct slice in)
{
	_cleanup_buf_ struct buf straight = BUF_INIT, packed = BUF_INIT;
	_cleanup_json_ json_t *v = NULL;
	struct pk pk = PK_INIT(&straight);
	struct err e = ERR_INIT;
	if (!json_text_value(in, &pk)) {
		HOLDS(straight.len == 0 && pk.depth == 0);
		return;
	}
	HOLDS(json_read(in, "fuzz", &v, &e) == 0);
	HOLDS(json_to_mp(v, &packed, &e) == 0);
	HOLDS(slice_eq(buf_slice(&straight), buf_slice(&packed)));
}

/* The same of a whole batch, whose nulls are dropped. */
static void json_batch(struct slice in)
{
	static const struct reading plain;
	_cleanup_buf_ struct buf straight = BUF_INIT, packed = BUF_INIT;
	_cleanup_json_ json_t *v = NULL;
	struct pk pk = PK_INIT(&straight);
	struct err is = ERR_INIT, should = ERR_INIT;
	pk_map(&pk);
	int r = batchfile_pack("fuzz", in, &plain, &pk, &is);
	HOLDS(r == batchfile_parse("fuzz", in, &plain, &v, &should));
	if (r) {
		HOLDS(strcmp(is.text, should.text) == 0);
		return;
	}
	pk_end(&pk);
	HOLDS(json_to_mp(v, &packed, &should) == 0);
	HOLDS(slice_eq(buf_slice(&straight), buf_slice(&packed)));
}

static void base64(struct slice in)
{
	_cleanup_buf_ struct buf bytes = BUF_INIT, text = BUF_INIT, again = BUF_INIT;
	base64_encode(in, &text);
	HOLDS(base64_decode(buf_slice(&text), &again) && slice_eq(buf_slice(&again), in));
	buf_clear(&text);
	if (!base64_decode(in, &bytes))
		return;
	base64_encode(buf_slice(&bytes), &text);
	while (text.len > 0 && in.len < text.len && text.p[text.len - 1] == '=')
		text.len--; /* it was left out */
	HOLDS(slice_eq(buf_slice(&text), in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scan s;
	size_t used;
	json_text(slice_of(data, size));
	json_straight(slice_of(data, size));
	if (size && data[0] == '{')
		json_batch(slice_of(data, size));
	base64(slice_of(data, size));
	scan_init(&s);
	if (scan_feed(&s, data, size, &used) == SCAN_DONE)
		json_from_packed(slice_of(data, used));
	return 0;
}
