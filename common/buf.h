/*
 * A growing byte buffer. Owns its bytes; always has room for a NUL after `len`, written by
 * buf_str(). Growth that fails aborts (see xalloc.h) except in buf_try_reserve(), which is for
 * sizes that a client chose.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "common/cleanup.h"
#include "common/slice.h"

struct buf {
	char *p;
	size_t len;
	size_t cap;
};

#define BUF_INIT                                                                                   \
	{                                                                                          \
		NULL, 0, 0                                                                         \
	}

void buf_done(struct buf *b);
/* Room for `more` bytes beyond len. */
void buf_reserve(struct buf *b, size_t more);
/* 0, or -ENOMEM with the buffer as it was. */
int buf_try_reserve(struct buf *b, size_t more) _must_check_;
void buf_add(struct buf *b, const void *p, size_t len);
void buf_addc(struct buf *b, char c);
void buf_adds(struct buf *b, const char *s);
void buf_addslice(struct buf *b, struct slice s);
void buf_addf(struct buf *b, const char *fmt, ...) _printf_(2, 3);
void buf_vaddf(struct buf *b, const char *fmt, va_list ap) _printf_(2, 0);
/* Forgets the first n bytes (moves the rest down). */
void buf_consume(struct buf *b, size_t n);
/* Length 0, memory kept. */
void buf_clear(struct buf *b);
/* NUL-terminated view, valid until the next change; never NULL. */
const char *buf_str(struct buf *b);
/* Hands over the NUL-terminated bytes (free() them) and leaves the buffer empty. */
char *buf_steal(struct buf *b);

static inline struct slice buf_slice(const struct buf *b)
{
	return slice_of(b->p ? b->p : "", b->len);
}

#define _cleanup_buf_ _cleanup_(buf_done)

#endif
