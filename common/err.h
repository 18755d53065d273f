/*
 * An error as a person will read it: filled once where it arises, given context on the way up. `sym` is one of enum err_symbol
 * (proto/errors.h) where the error may travel to a client, else 0. Style: lower case, no full stop, the thing in 'quotes'.
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

#define ERR_INIT { 0, "" }

/* Fills e (which may be NULL) and returns 1, for `return err_set(...)`. Longer text is cut. */
int err_set(struct err *e, int sym, const char *fmt, ...) _printf_(3, 4);
/* Puts "prefix" text before what e says and returns 1. */
int err_prefix(struct err *e, const char *fmt, ...) _printf_(2, 3);

#endif
