/*
 * An error as a person will read it: filled once where it arises, given context on the way up.
 * `sym` is one of enum err_symbol (proto/errors.h) where the error may travel to a client, else 0.
 * Style: lower case, no full stop, the thing in 'quotes'.
 *
 * Functions that take a `struct err *` return 0 when fine and non-zero when they filled it.
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include "common/cleanup.h"

struct err {
	int sym;
	char text[1024];
};

#define ERR_INIT                                                                                   \
	{                                                                                          \
		0, ""                                                                              \
	}

/* Behind the two macros below, which let the compiler see that they are 1. */
void err_fill(struct err *e, int sym, const char *fmt, ...) _printf_(3, 4);
void err_fill_prefix(struct err *e, const char *fmt, ...) _printf_(2, 3);

/* Fills e (which may be NULL) with a symbol and a text as printf makes it; is 1, for `return
 * err_set(...)`. Longer text is cut. */
#define err_set(...)                                                                               \
	({                                                                                         \
		err_fill(__VA_ARGS__);                                                             \
		1;                                                                                 \
	})
/* Puts a text as printf makes it before what e says; is 1. */
#define err_prefix(...)                                                                            \
	({                                                                                         \
		err_fill_prefix(__VA_ARGS__);                                                      \
		1;                                                                                 \
	})

#endif
