#include "common/timeutil.h"

#include <inttypes.h>
#include <time.h>

#define DURATION_MAX_MS (INT64_C(10000) * 86400 * 1000)

int64_t time_wall_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t time_mono_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t time_boot_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t time_mono_ms(void)
{
	return time_mono_ns() / 1000000;
}

static const struct {
	const char *name;
	int64_t ms;
} units[] = { { "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 }, { "d", 86400000 } };

static int64_t unit_ms(struct slice name)
{
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (slice_is(name, units[i].name))
			return units[i].ms;
	return 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* One "12.5h" at *at; advances it. A missing unit is seconds. */
static bool duration_term(struct slice s, size_t *at, double *ret_ms)
{
	size_t i = *at, digits = 0;
	double value = 0, scale = 1;
	for (; i < s.len && is_digit(s.p[i]); i++, digits++)
		value = value * 10 + (s.p[i] - '0');
	if (i < s.len && s.p[i] == '.')
		for (i++; i < s.len && is_digit(s.p[i]); i++, digits++)
			value += (s.p[i] - '0') * (scale /= 10);
	size_t unit = i;
	while (i < s.len && s.p[i] >= 'a' && s.p[i] <= 'z')
		i++;
	int64_t ms = i == unit ? 1000 : unit_ms(slice_of(s.p + unit, i - unit));
	if (digits == 0 || ms == 0 || (i == unit && (*at != 0 || i != s.len)))
		return false;
	*at = i;
	*ret_ms = value * (double)ms;
	return true;
}

bool duration_parse(struct slice s, int64_t *ret_ms)
{
	double total = 0, term;
	size_t at = 0;
	if (s.len == 0)
		return false;
	while (at < s.len) {
		if (!duration_term(s, &at, &term))
			return false;
		total += term;
	}
	if (total > (double)DURATION_MAX_MS)
		return false;
	*ret_ms = (int64_t)(total + 0.5);
	return true;
}

void duration_human(struct buf *b, int64_t ms)
{
	int64_t s = ms / 1000;
	if (ms < 1000)
		buf_addf(b, "%" PRId64 " ms", ms);
	else if (ms < 60000)
		buf_addf(b, "%" PRId64 ".%" PRId64 " s", s, ms % 1000 / 100);
	else if (s < 3600)
		buf_addf(b, "%" PRId64 " m %02" PRId64 " s", s / 60, s % 60);
	else if (s < 86400)
		buf_addf(b, "%" PRId64 " h %02" PRId64 " m", s / 3600, s / 60 % 60);
	else
		buf_addf(b, "%" PRId64 " d %02" PRId64 " h", s / 86400, s / 3600 % 24);
}

void duration_print(struct buf *b, int64_t ms)
{
	if (ms % 1000)
		buf_addf(b, "%" PRId64 "ms", ms);
	else
		buf_addf(b, "%" PRId64 "s", ms / 1000);
}
