#include "common/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Text that fills all the room was cut: not in the midst of a character (UTF-8), for it travels as
 * text. */
static void err_cut(struct err *e)
{
	size_t n = strlen(e->text);
	if (n < sizeof(e->text) - 1)
		return;
	while (n > 0 && ((unsigned char)e->text[n - 1] & 0xc0) == 0x80)
		n--;
	if (n > 0 && ((unsigned char)e->text[n - 1] & 0xc0) == 0xc0)
		n--;
	e->text[n] = '\0';
}

void err_fill(struct err *e, int sym, const char *fmt, ...)
{
	if (!e)
		return;
	va_list ap;
	va_start(ap, fmt);
	e->sym = sym;
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	err_cut(e);
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
	err_cut(e);
}
