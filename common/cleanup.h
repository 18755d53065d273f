/*
 * Scope-bound cleanup by __attribute__((cleanup)): a variable marked with one of these frees or
 * closes itself when it leaves scope, so functions have one exit and no forgotten path. Hand a
 * value over with TAKE_PTR / TAKE_FD.
 */
#ifndef COMMON_CLEANUP_H
#define COMMON_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclosep(FILE **f)
{
	if (*f)
		fclose(*f);
}

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _cleanup_free_ _cleanup_(cleanup_freep)
#define _cleanup_close_ _cleanup_(cleanup_closep)
#define _cleanup_fclose_ _cleanup_(cleanup_fclosep)

/* The pointer or fd, leaving NULL or -1 behind so that the cleanup does nothing. */
#define TAKE_PTR(p)                                                                                \
	({                                                                                         \
		__typeof__(p) *take_p_ = &(p);                                                     \
		__typeof__(p) take_v_ = *take_p_;                                                  \
		*take_p_ = NULL;                                                                   \
		take_v_;                                                                           \
	})
#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int *take_p_ = &(fd);                                                              \
		int take_v_ = *take_p_;                                                            \
		*take_p_ = -1;                                                                     \
		take_v_;                                                                           \
	})

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define _unused_ __attribute__((unused))
#define _printf_(f, a) __attribute__((format(printf, f, a)))
#define _must_check_ __attribute__((warn_unused_result))

#define MIN2(a, b) ((a) < (b) ? (a) : (b))
#define MAX2(a, b) ((a) > (b) ? (a) : (b))

#endif
