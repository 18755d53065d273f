/* Headers: [label]:, Message 2:, Step 3: [label] { always: true }:, and comments that read so. */
#include "client/notation_impl.h"

#include <string.h>
#include <strings.h>

#include "common/text.h"
#include "proto/limits.h"

#define HEAD_LABEL_MAX 90 /* characters */
#define HEAD_TITLE_MAX 90 /* bytes */

static const char *const head_words[] = {
	[HEAD_MESSAGE] = "Message", [HEAD_STEP] = "Step", [HEAD_PHASE] = "Phase"
};

/* "Message 2" at the cursor. */
static bool head_number(struct src *s, struct head *h)
{
	const char *start = s->p;
	for (int w = HEAD_MESSAGE; w < HEAD_WORD_MAX; w++) {
		size_t len = strlen(head_words[w]);
		if ((size_t)(s->end - s->p) <= len || strncasecmp(s->p, head_words[w], len) != 0)
			continue;
		s->p += len;
		const char *blanks = s->p;
		src_skip_blanks(s);
		const char *digits = s->p;
		while (char_is_digit(src_peek(s)))
			s->p++;
		struct slice number = slice_of(digits, (size_t)(s->p - digits));
		if (digits > blanks && !char_is_ident(src_peek(s)) &&
		    parse_int(number, 0, LIMIT_OPS, &h->number)) {
			h->word = (enum head_word)w;
			return true;
		}
		s->p = start;
	}
	return false;
}

/* The number inside "BatchTool - Message 1". */
static void head_label_number(struct head *h)
{
	struct src s = { .begin = h->label.p, .p = h->label.p, .end = h->label.p + h->label.len };
	for (; h->word == HEAD_NONE && s.p < s.end; s.p++)
		if ((s.p == s.begin || !char_is_ident(s.p[-1])) && head_number(&s, h))
			return;
}

static struct slice slice_trim(struct slice s)
{
	while (s.len > 0 && char_is_blank(s.p[0]))
		s = slice_of(s.p + 1, s.len - 1);
	while (s.len > 0 && char_is_blank(s.p[s.len - 1]))
		s.len--;
	return s;
}

static bool head_label(struct src *s, struct head *h)
{
	const char *p = s->p + 1;
	unsigned chars = 0;
	if (src_peek(s) != '[')
		return false;
	for (; p < s->end && *p != ']'; p++) {
		if (!*p || strchr("\"{[\n", *p) || chars > HEAD_LABEL_MAX)
			return false;
		chars += ((unsigned char)*p & 0xc0) != 0x80;
	}
	struct slice label = slice_trim(slice_of(s->p + 1, (size_t)(p - s->p - 1)));
	if (p == s->end || chars > HEAD_LABEL_MAX || label.len == 0)
		return false;
	/* A link of markdown. */
	if (p + 1 < s->end && p[1] == '(')
		return false;
	h->label = label;
	s->p = p + 1;
	return true;
}

static void head_skip_emphasis(struct src *s)
{
	for (int i = 0; i < 3 && (src_peek(s) == '*' || src_peek(s) == '_'); i++)
		s->p++;
}

/* { keys } and the colon, in either order; emphasis may close before or after the colon. */
static void head_tail(struct src *s, struct head *h)
{
	const char *good = s->p;
	head_skip_emphasis(s);
	for (int i = 0; i < 2; i++) {
		src_skip_blanks(s);
		if (src_peek(s) == '{' && !h->keys) {
			const char *keys = s->p;
			if (!src_skip_balanced(s))
				break;
			h->keys = keys;
			src_skip_blanks(s);
		}
		if (src_peek(s) != ':' || h->colon)
			break;
		h->colon = true;
		s->p++;
		good = s->p;
	}
	if (h->keys)
		good = s->p;
	s->p = h->colon || h->keys ? s->p : good;
	head_skip_emphasis(s);
}

/* "Message 1 - Setup:", "Step 2 (tests):": a title between number and colon. */
static void head_title(struct src *s)
{
	const char *p = s->p;
	while (p < s->end && p - s->p < HEAD_TITLE_MAX && *p && !strchr(":\"'`{[\n#", *p))
		p++;
	if (p < s->end && *p == ':' && p > s->p)
		s->p = p;
}

static bool head_numbered(struct src *s, struct head *h)
{
	if (!head_number(s, h))
		return false;
	src_skip_blanks(s);
	if (src_peek(s) == '-' || src_peek(s) == '(' || (unsigned char)src_peek(s) == 0xe2)
		head_title(s);
	head_tail(s, h);
	src_skip_blanks(s);
	if (head_label(s, h)) {
		bool colon = h->colon;
		h->colon = false;
		head_tail(s, h);
		h->colon |= colon;
	}
	return true;
}

static bool head_rest_is_clean(const struct src *at)
{
	struct src s = *at;
	struct op_look look;
	src_skip_blanks(&s);
	return src_at_eol(&s) || src_at_comment(&s) || op_look(&s, true, &look) != LOOK_NONE;
}

static bool head_skip_bullet(struct src *s)
{
	char c = src_peek(s);
	if ((c != '-' && c != '*' && c != '+') || !char_is_blank(src_peek_at(s, 1)))
		return false;
	s->p++;
	src_skip_blanks(s);
	return true;
}

/* "[x]", "[-]": at the beginning of a line a box of a list of what is done, unless a colon follows.
 */
static bool head_is_box(struct slice label)
{
	return label.len == 1 && (label.p[0] == 'x' || !char_is_ident(label.p[0]));
}

bool head_scan(struct src *s, struct head *ret)
{
	const char *start = s->p;
	struct head h = { .number = -1 };
	bool bullet = head_skip_bullet(s);
	h.at = s->p;
	head_skip_emphasis(s);
	bool bracket = head_label(s, &h);
	if (bracket)
		head_tail(s, &h);
	if (bracket && head_is_box(h.label) && !h.colon) {
		s->p = start;
		return false;
	}
	if (!bracket && !head_numbered(s, &h)) {
		s->p = start;
		return false;
	}
	if (h.label.p)
		head_label_number(&h);
	h.clean = head_rest_is_clean(s);
	/* Without a colon only what stands alone, or before ops, is meant as a header; behind a
	 * bullet it never is. */
	if (!h.colon && (!h.clean || bullet)) {
		s->p = start;
		return false;
	}
	*ret = h;
	return true;
}

bool head_scan_comment(const struct src *at, struct head *ret)
{
	struct src s = *at;
	struct head h = { .at = at->p, .number = -1, .clean = true, .colon = true };
	while (s.p < s.end && *s.p && strchr("/#*=-_ \t", *s.p))
		s.p++;
	if (!head_number(&s, &h))
		return false;
	src_skip_blanks(&s);
	char c = src_peek(&s);
	bool ends = src_at_eol(&s) || strchr(":-.)(=*#[_", c) || (unsigned char)c == 0xe2;
	if (!ends)
		return false;
	if (c == ':')
		s.p++;
	src_skip_blanks(&s);
	head_label(&s, &h);
	*ret = h;
	return true;
}

bool head_is_placeholder(const struct head *h)
{
	return h->label.p && (memmem(h->label.p, h->label.len, "...", 3) ||
			      memmem(h->label.p, h->label.len, "\xe2\x80\xa6", 3));
}
