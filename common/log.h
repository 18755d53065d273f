/*
 * The program's log: lines on stderr, `<N>` priorities when systemd's journal reads it
 * (JOURNAL_STREAM), time stamps otherwise. Library folders stay silent or log at LOG_DEBUG; the
 * program logs once, where it decides. Any thread may call.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/cleanup.h"

enum log_level { LOG_ERROR = 3, LOG_WARN = 4, LOG_INFO = 6, LOG_DEBUG = 7 }; /* syslog(3) numbers */

/* Sets the program's name and what is printed: that level and all more urgent ones. */
void log_init(const char *program, enum log_level level);
void log_set_level(enum log_level level);
void log_line(enum log_level level, const char *fmt, ...) _printf_(2, 3);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

#endif
