#include <inttypes.h>

#include "common/text.h"
#include "proto/batch.h"
#include "proto/limits.h"

#define TEXT_SOURCE_BYTES 1024 /* more than LIMIT_TEXT_CHARS characters of up to four bytes */

_Static_assert(TEXT_SOURCE_BYTES > 4 * LIMIT_TEXT_CHARS, "enough to know that it must be cut");

/* Appends what is in `line`, cut after LIMIT_TEXT_CHARS characters. */
static void text_cut(struct slice line, struct buf *b)
{
	size_t at = 0, chars = 0, last = 0;
	while (at < line.len && chars < LIMIT_TEXT_CHARS) {
		last = at;
		at += MAX2(utf8_len(slice_of(line.p + at, line.len - at)), (size_t)1);
		chars++;
	}
	if (at < line.len) {
		buf_add(b, line.p, last);
		buf_adds(b, "\xe2\x80\xa6");
	} else {
		buf_add(b, line.p, line.len);
	}
}

static void text_add(struct slice s, struct buf *b)
{
	_cleanup_buf_ struct buf line = BUF_INIT;
	s.len = MIN2(s.len, TEXT_SOURCE_BYTES);
	text_one_line(&line, s, 4 * TEXT_SOURCE_BYTES);
	text_cut(buf_slice(&line), b);
}

static bool text_is_plain(struct slice s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.p[i];
		bool letter = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9');
		if (!letter && !strchr("_@%+=:,./-", c) && (unsigned char)c < 0x80)
			return false;
	}
	return s.len > 0;
}

/* A word as a shell would have to be given it. */
static void text_quote(struct slice s, struct buf *b)
{
	if (text_is_plain(s)) {
		buf_addslice(b, s);
		return;
	}
	buf_addc(b, '\'');
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] == '\'')
			buf_adds(b, "'\\''");
		else
			buf_addc(b, s.p[i]);
	}
	buf_addc(b, '\'');
}

static void text_argv(struct slice argv, struct buf *b)
{
	_cleanup_buf_ struct buf words = BUF_INIT;
	uint32_t n;
	struct mp m = array_open(argv, &n);
	for (uint32_t i = 0; i < n && words.len <= TEXT_SOURCE_BYTES; i++) {
		struct slice word = mp_next(&m).bytes;
		word.len = MIN2(word.len, TEXT_SOURCE_BYTES);
		if (i > 0)
			buf_addc(&words, ' ');
		text_quote(word, &words);
	}
	text_add(buf_slice(&words), b);
}

void batch_op_text(const struct batch_op *op, struct buf *b)
{
	int n;
	switch ((enum op_kind)op->kind) {
	case KIND_BASH:
		text_add(op->command, b);
		break;
	case KIND_EXEC:
		text_argv(op->argv, b);
		break;
	case KIND_WRITE:
	case KIND_EDIT:
	case KIND_READ:
		text_add(op->path, b);
		break;
	case KIND_TODOS:
		n = array_count(op->todos);
		buf_addf(b, "%d todo%s", n, PLURAL(n));
		break;
	case KIND_MAX:
		break;
	}
}
