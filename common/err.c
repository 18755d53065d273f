#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void err_fill(struct err *e, int sym, const char *fmt, ...)
{
	if (!e)
		return;
	va_list ap;
	va_start(ap, fmt);
	e->sym = sym;
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
}

void err_fill_prefix(struct err *e, const char *fmt, ...)
{
	if (!e)
		return;
	char text[sizeof(e->text)];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(text))
		snprintf(text + n, sizeof(text) - (size_t)n, "%s", e->text);
	memcpy(e->text, text, sizeof(text));
}
