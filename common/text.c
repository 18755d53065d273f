#include "common/text.h"

#include <stdio.h>
#include <string.h>

bool parse_all_digits(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.len > 0;
}

bool parse_int(struct slice s, int64_t min, int64_t max, int64_t *ret)
{
	bool neg = s.len > 1 && s.p[0] == '-';
	struct slice digits = neg ? slice_of(s.p + 1, s.len - 1) : s;
	int64_t v = 0;
	if (!parse_all_digits(digits))
		return false;
	for (size_t i = 0; i < digits.len; i++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_sub_overflow(v, digits.p[i] - '0', &v))
			return false;
	if (!neg && __builtin_sub_overflow(0, v, &v))
		return false;
	if (v < min || v > max)
		return false;
	*ret = v;
	return true;
}

bool parse_octal(struct slice s, uint32_t max, uint32_t *ret)
{
	uint32_t v = 0;
	if (s.len == 0 || s.len > 8)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] < '0' || s.p[i] > '7')
			return false;
		v = v * 8 + (uint32_t)(s.p[i] - '0');
	}
	if (v > max)
		return false;
	*ret = v;
	return true;
}

/* How many bytes the lead byte announces, and the range its second byte must lie in (RFC 3629
 * section 4). */
static size_t utf8_lead(unsigned char c, unsigned char *lo, unsigned char *hi)
{
	*lo = 0x80;
	*hi = 0xbf;
	if (c < 0x80)
		return 1;
	if (c >= 0xc2 && c <= 0xdf)
		return 2;
	if (c >= 0xe0 && c <= 0xef) {
		*lo = c == 0xe0 ? 0xa0 : 0x80;
		*hi = c == 0xed ? 0x9f : 0xbf;
		return 3;
	}
	if (c >= 0xf0 && c <= 0xf4) {
		*lo = c == 0xf0 ? 0x90 : 0x80;
		*hi = c == 0xf4 ? 0x8f : 0xbf;
		return 4;
	}
	return 0;
}

size_t utf8_len(struct slice s)
{
	unsigned char lo, hi;
	const unsigned char *p = (const unsigned char *)s.p;
	if (s.len == 0)
		return 0;
	size_t n = utf8_lead(p[0], &lo, &hi);
	if (n == 0 || n > s.len || (n > 1 && (p[1] < lo || p[1] > hi)))
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

bool utf8_valid(struct slice s)
{
	for (size_t i = 0, n; i < s.len; i += n)
		if ((n = utf8_len(slice_of(s.p + i, s.len - i))) == 0)
			return false;
	return true;
}

static void text_escape(struct buf *b, unsigned char c)
{
	if (c == '\n')
		buf_adds(b, "\\n");
	else if (c == '\t')
		buf_adds(b, "\\t");
	else
		buf_addf(b, "\\x%02x", c);
}

void text_one_line(struct buf *b, struct slice s, size_t max)
{
	size_t end = b->len + max;
	for (size_t i = 0; i < s.len;) {
		size_t n = utf8_len(slice_of(s.p + i, s.len - i));
		if (b->len + 8 > end && s.len - i > end - b->len) {
			buf_adds(b, "\xe2\x80\xa6");
			return;
		}
		if (n == 0 || (unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f)
			text_escape(b, (unsigned char)s.p[i]);
		else
			buf_add(b, s.p + i, n);
		i += n ? n : 1;
	}
}

void text_shell_word(struct buf *b, struct slice s)
{
	static const char plain[] =
		"-_.+/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t n = 0;
	while (n < s.len && s.p[n] && strchr(plain, s.p[n]))
		n++;
	if (n == s.len && s.len) {
		buf_addslice(b, s);
		return;
	}
	/* Quotes that hold nothing are left out, as GNU parallel does: a joblog is matched by text.
	 */
	bool open = !(s.len && s.p[0] == '\'');
	if (open)
		buf_addc(b, '\'');
	for (size_t i = 0; i < s.len; i++) {
		if (s.p[i] != '\'') {
			buf_addc(b, s.p[i]);
			continue;
		}
		if (i)
			buf_addc(b, '\'');
		buf_adds(b, i + 1 < s.len ? "\"'\"'" : "\"'\"");
	}
	if (!(s.len && s.p[s.len - 1] == '\''))
		buf_addc(b, '\'');
}

const char *errno_text(int error)
{
	static _Thread_local char text[96];
	const char *name = strerrordesc_np(error);
	if (!name)
		snprintf(text, sizeof(text), "error %d", error);
	else
		snprintf(text, sizeof(text), "%s", name);
	/* "No space left", but not "RPC ..." */
	if (text[0] >= 'A' && text[0] <= 'Z' && !(text[1] >= 'A' && text[1] <= 'Z'))
		text[0] = (char)(text[0] - 'A' + 'a');
	return text;
}
