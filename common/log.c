#include "common/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static const char *program_name = "batchd";
static _Atomic enum log_level log_level = LOG_INFO;

void log_init(const char *program, enum log_level level)
{
	program_name = program;
	log_level = level;
}

void log_set_level(enum log_level level)
{
	log_level = level;
}

static int log_head(char *line, size_t size, enum log_level level)
{
	if (getenv("JOURNAL_STREAM"))
		return snprintf(line, size, "<%d>", level);
	struct timespec now;
	struct tm tm;
	char stamp[32] = "";
	clock_gettime(CLOCK_REALTIME, &now);
	if (localtime_r(&now.tv_sec, &tm))
		strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", &tm);
	return snprintf(line, size, "%s.%03ld %s: %s", stamp, now.tv_nsec / 1000000, program_name,
			level == LOG_ERROR  ? "error: "
			: level == LOG_WARN ? "warning: "
					    : "");
}

void log_line(enum log_level level, const char *fmt, ...)
{
	if (level > log_level)
		return;
	char line[2048];
	int n = log_head(line, sizeof(line), level);
	va_list ap;
	va_start(ap, fmt);
	int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	size_t len = MIN2((size_t)n + (size_t)MAX2(m, 0), sizeof(line) - 2);
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* nobody left to tell */
}
