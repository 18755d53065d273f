#include "proto/errors.h"

#include "common/cleanup.h"

static const struct {
	const char *name;
	bool callers;
} symbols[] = {
#define X(symbol, caller) [symbol] = { #symbol, caller },
#include "proto/errors.def"
#undef X
};

_Static_assert(ARRAY_SIZE(symbols) == E_SYMBOL_MAX, "a name for each symbol");

static int err_symbol_known(int sym)
{
	return sym > E_NONE && sym < E_SYMBOL_MAX ? sym : E_INTERNAL;
}

const char *err_symbol_name(int sym)
{
	return symbols[err_symbol_known(sym)].name;
}

bool err_symbol_is_callers(int sym)
{
	return symbols[err_symbol_known(sym)].callers;
}
