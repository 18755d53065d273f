/*
 * Error symbols as they travel: `[0|1, "E_SYMBOL: text"]`, 1 where the caller can mend it.
 */
#ifndef PROTO_ERRORS_H
#define PROTO_ERRORS_H

#include <stdbool.h>

enum err_symbol {
	E_NONE = 0,
#define X(symbol, caller) symbol,
#include "proto/errors.def"
#undef X
	E_SYMBOL_MAX
};

/* "E_PARAMS"; "E_INTERNAL" for anything not in the list. */
const char *err_symbol_name(int sym);
bool err_symbol_is_callers(int sym);

#endif
