#include "common/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/xalloc.h"

/* Two of the large pages of most machines. */
#define BUF_LARGE ((size_t)4 << 20)
#define BUF_PAGE ((uintptr_t)4096)

static size_t buf_grown(const struct buf *b, size_t more)
{
	size_t need = b->len + more + 1;
	size_t cap = b->cap ? b->cap : 64;
	while (cap < need)
		cap += cap / 2 + 32;
	return cap;
}

/* What is large is asked for in large pages, where the system has any to give: to bring in a small
 * one costs more than to fill it. */
static void buf_grow(struct buf *b, char *p, size_t cap)
{
	b->p = p;
	b->cap = cap;
	if (cap < BUF_LARGE)
		return;
	uintptr_t from = ((uintptr_t)p + BUF_PAGE - 1) & ~(BUF_PAGE - 1);
	madvise((void *)from, (uintptr_t)p + cap - from, MADV_HUGEPAGE);
}

void buf_done(struct buf *b)
{
	free(b->p);
	*b = (struct buf)BUF_INIT;
}

void buf_reserve(struct buf *b, size_t more)
{
	if (b->len + more + 1 <= b->cap)
		return;
	size_t cap = buf_grown(b, more);
	buf_grow(b, xrealloc(b->p, cap, 1), cap);
}

int buf_try_reserve(struct buf *b, size_t more)
{
	if (b->len + more + 1 <= b->cap)
		return 0;
	size_t cap = buf_grown(b, more);
	char *p = realloc(b->p, cap);
	if (!p)
		return -ENOMEM;
	buf_grow(b, p, cap);
	return 0;
}

void buf_add(struct buf *b, const void *p, size_t len)
{
	buf_reserve(b, len);
	if (len)
		memcpy(b->p + b->len, p, len);
	b->len += len;
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addslice(struct buf *b, struct slice s)
{
	buf_add(b, s.p, s.len);
}

void buf_vaddf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	va_copy(again, ap);
	int n = vsnprintf(NULL, 0, fmt, ap);
	if (n > 0) {
		buf_reserve(b, (size_t)n);
		vsnprintf(b->p + b->len, (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
	}
	va_end(again);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	buf_vaddf(b, fmt, ap);
	va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
	if (n)
		memmove(b->p, b->p + n, b->len - n);
	b->len -= n;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
}

const char *buf_str(struct buf *b)
{
	buf_reserve(b, 0);
	b->p[b->len] = '\0';
	return b->p;
}

char *buf_steal(struct buf *b)
{
	buf_str(b);
	char *p = b->p;
	*b = (struct buf)BUF_INIT;
	return p;
}
