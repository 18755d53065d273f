/*
 * Markdown: of a document only the fenced blocks that hold ops are read, one after another, as one
 * batch. Where the numbers of messages start again in a later block these are several batches, and
 * the reader has to choose.
 */
#include "client/notation_impl.h"

#include <string.h>

#include "common/text.h"
#include "common/xalloc.h"
#include "proto/limits.h"

struct md_block {
	const char *begin, *end;
	unsigned strip; /* blanks before its fence */
	unsigned ops;	/* that it holds, as far as a glance tells */
	bool sure;	/* one of them has its own letter case, or a header stands above */
	int64_t first[HEAD_WORD_MAX], last[HEAD_WORD_MAX]; /* numbers of its headers; -1: none */
};

struct md {
	struct md_block *blocks;
	size_t n;
};

/* ---- fences ---- */

struct md_fence {
	char mark;
	size_t length;
	unsigned indent;
};

/* A fence at the beginning of a line: three or more ` or ~; what follows ` holds no further `. */
static bool md_fence_open(const struct src *at, struct md_fence *ret)
{
	struct src s = *at;
	while (src_peek(&s) == ' ' || src_peek(&s) == '\t')
		s.p++;
	struct md_fence f = { .mark = src_peek(&s), .indent = (unsigned)(s.p - at->p) };
	if (f.mark != '`' && f.mark != '~')
		return false;
	while (src_peek(&s) == f.mark) {
		s.p++;
		f.length++;
	}
	struct slice info = src_line(&s);
	if (f.length < 3 || (f.mark == '`' && memchr(info.p, '`', info.len)))
		return false;
	*ret = f;
	return true;
}

static bool md_fence_closes(const struct src *at, const struct md_fence *open)
{
	struct md_fence f;
	struct slice line = src_line(at);
	return md_fence_open(at, &f) && f.mark == open->mark && f.length >= open->length &&
	       line.len == f.length;
}

/* ---- is it a document ---- */

/*
 * Does the line at the cursor begin an op, or the preamble of some? Names in another letter case
 * than their own are taken for English here; "Phase 1:" and "[TOC]" stand in prose too, so that a
 * header counts only with an op on its line. The cursor stays.
 */
static bool md_is_op_line(struct src *s)
{
	struct op_look look;
	struct head head;
	src_skip_blanks(s);
	if (src_at_eol(s) || src_at_comment(s))
		return false;
	if (notation_at_const(s) || notation_at_batch(s))
		return true;
	enum look_kind kind = op_look(s, false, &look);
	if (kind == LOOK_FOREIGN || (kind == LOOK_KNOWN && look.exact))
		return true;
	if (!head_scan(s, &head) || !head.clean)
		return false;
	src_skip_blanks(s);
	return !src_at_eol(s) && !src_at_comment(s);
}

bool md_is_document(struct src s)
{
	while (s.p < s.end) {
		struct md_fence fence;
		const char *line = s.p;
		if (md_fence_open(&s, &fence))
			return true;
		if (md_is_op_line(&s))
			return false;
		s.p = line;
		src_skip_line(&s);
	}
	return false;
}

/* ---- a glance into a block ---- */

static void md_note_head(struct md_block *b, const struct head *h)
{
	if (h->word == HEAD_NONE)
		return;
	if (b->first[h->word] < 0)
		b->first[h->word] = h->number;
	b->last[h->word] = MAX2(b->last[h->word], h->number);
}

static void md_note_op(struct src *s, struct md_block *b, const struct op_look *look)
{
	bool known = look->kind == LOOK_KNOWN || look->kind == LOOK_FOREIGN;
	b->ops += known;
	b->sure |= known && look->exact;
	op_skip(s);
}

static void md_survey_line(struct src *s, struct md_block *b)
{
	struct op_look look;
	struct head head;
	src_skip_blanks(s);
	bool comment = src_at_comment(s);
	if (comment ? head_scan_comment(s, &head) : head_scan(s, &head)) {
		md_note_head(b, &head);
		b->sure = true;
		src_skip_blanks(s);
	}
	if (comment) {
		if (src_skip_comment(s, NULL))
			src_skip_line(s);
		return;
	}
	while (op_look(s, true, &look) != LOOK_NONE) {
		md_note_op(s, b, &look);
		while (src_peek(s) == ',' || src_peek(s) == ';' || char_is_blank(src_peek(s)))
			s->p++;
	}
	src_skip_line(s);
}

static void md_survey(const struct src *whole, struct md_block *b)
{
	struct src s = *whole;
	s.p = b->begin;
	s.end = b->end;
	for (int w = 0; w < HEAD_WORD_MAX; w++)
		b->first[w] = b->last[w] = -1;
	while (s.p < s.end)
		md_survey_line(&s, b);
}

static void md_add_block(struct md *md, const struct src *s, struct md_block *b)
{
	md_survey(s, b);
	if (b->ops == 0 || !b->sure)
		return;
	if ((md->n & (md->n - 1)) == 0)
		md->blocks = xrealloc(md->blocks, md->n ? 2 * md->n : 1, sizeof(*md->blocks));
	md->blocks[md->n++] = *b;
}

static void md_find_blocks(struct md *md, struct src s)
{
	while (s.p < s.end) {
		struct md_fence fence;
		bool open = md_fence_open(&s, &fence);
		src_skip_line(&s);
		if (!open)
			continue;
		struct md_block b = { .begin = s.p, .strip = fence.indent };
		while (s.p < s.end && !md_fence_closes(&s, &fence))
			src_skip_line(&s);
		b.end = s.p;
		md_add_block(md, &s, &b);
		src_skip_line(&s);
	}
}

/* ---- which blocks ---- */

/* "1 at line 12 (14 ops, Message 1 to 2), ...", as much as an error has room for. */
static void md_list_blocks(struct notation *n, const struct md *md, struct buf *out)
{
	static const char *const words[] = {
		[HEAD_MESSAGE] = "Message", [HEAD_STEP] = "Step", [HEAD_PHASE] = "Phase"
	};
	for (size_t i = 0; i < md->n; i++) {
		const struct md_block *b = &md->blocks[i];
		struct src_place at = src_place(&n->sc.src, b->begin);
		if (out->len > 500) {
			buf_addf(out, ", ... %zu in all", md->n);
			return;
		}
		buf_addf(out, "%s%zu at line %u (%u op%s", i ? ", " : "", i + 1, at.line, b->ops,
			 PLURAL(b->ops));
		for (int w = HEAD_MESSAGE; w < HEAD_WORD_MAX; w++)
			if (b->first[w] >= 0)
				buf_addf(out, ", %s %lld to %lld", words[w], (long long)b->first[w],
					 (long long)b->last[w]);
		buf_addc(out, ')');
	}
}

static enum note md_choose(struct notation *n, const struct md *md, const char *at, const char *why)
{
	_cleanup_buf_ struct buf list = BUF_INIT;
	md_list_blocks(n, md, &list);
	return nv_error(&n->sc, at,
			"%s; blocks that hold ops: %s; choose with --block N[,M] or --block all",
			why, buf_str(&list));
}

/* Without --block: all, unless numbers start again. */
static enum note md_choose_all(struct notation *n, const struct md *md, bool *chosen)
{
	int64_t last[HEAD_WORD_MAX] = { -1, -1, -1, -1 };
	for (size_t i = 0; i < md->n; i++) {
		const struct md_block *b = &md->blocks[i];
		for (int w = HEAD_MESSAGE; w < HEAD_WORD_MAX; w++) {
			if (b->first[w] >= 0 && b->first[w] <= last[w])
				return md_choose(
					n, md, b->begin,
					"the numbers of the messages start again in this block");
			last[w] = MAX2(last[w], b->last[w]);
		}
		chosen[i] = true;
	}
	return NOTE_OK;
}

static enum note md_choose_given(struct notation *n, const struct md *md, const char *given,
				 bool *chosen)
{
	for (const char *p = given;; p++) {
		size_t len = strcspn(p, ",");
		int64_t number;
		if (!parse_int(slice_of(p, len), 1, INT32_MAX, &number))
			return nv_error(&n->sc, NULL, "--block %s: write N, N,M or all", given);
		if ((size_t)number > md->n)
			return md_choose(n, md, NULL, "--block: there is no such block");
		chosen[number - 1] = true;
		p += len;
		if (!*p)
			return NOTE_OK;
	}
}

static enum note md_parse_chosen(struct notation *n, const struct md *md, const bool *chosen)
{
	struct src *s = &n->sc.src;
	for (size_t i = 0; i < md->n; i++) {
		if (!chosen[i])
			continue;
		s->p = md->blocks[i].begin;
		s->end = md->blocks[i].end;
		s->strip = md->blocks[i].strip;
		enum note r = notation_stretch(n);
		if (r)
			return r;
	}
	return NOTE_OK;
}

enum note md_parse(struct notation *n)
{
	struct md md = { .n = 0 };
	const char *given = n->sc.options->block;
	md_find_blocks(&md, n->sc.src);
	bool *chosen = xcalloc(md.n + 1, sizeof(bool));
	enum note r = NOTE_OK;
	if (md.n == 0)
		r = nv_error(&n->sc, NULL,
			     "no op found: none of the fenced blocks of this document holds one");
	else if (!given)
		r = md_choose_all(n, &md, chosen);
	else if (strcmp(given, "all") == 0)
		memset(chosen, true, md.n);
	else
		r = md_choose_given(n, &md, given, chosen);
	if (r == NOTE_OK)
		r = md_parse_chosen(n, &md, chosen);
	free(chosen);
	free(md.blocks);
	return r;
}
