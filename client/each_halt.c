#include <stdlib.h>

#include "client/each.h"
#include "common/text.h"

#define STATUS_MAX 101 /* more failures than 100 */

/* What older writings stand for. */
static const struct {
	const char *old, *text;
} halt_old[] = {
	{ "0", "never" },	    { "1", "soon,fail=1" },    { "2", "now,fail=1" },
	{ "-1", "soon,success=1" }, { "-2", "now,success=1" },
};

static const struct {
	const char *name;
	enum each_count count;
} halt_counts[] = {
	{ "fail=", COUNT_FAIL },
	{ "success=", COUNT_SUCCESS },
	{ "done=", COUNT_DONE },
};

static bool halt_number(const char *text, struct each_halt *h)
{
	size_t len = strlen(text);
	h->percent = len && text[len - 1] == '%';
	return parse_int(slice_of(text, len - h->percent), 1, h->percent ? 100 : INT32_MAX,
			 &h->limit);
}

int each_halt_parse(const char *text, struct each_halt *h, struct err *e)
{
	const char *given = text;
	for (size_t i = 0; i < ARRAY_SIZE(halt_old); i++)
		if (strcmp(text, halt_old[i].old) == 0)
			text = halt_old[i].text;
	if (strcmp(text, "never") == 0)
		return 0;
	h->on = true;
	if (parse_all_digits(slice_of(text, strcspn(text, "%"))) && halt_number(text, h) &&
	    h->percent)
		return 0; /* 5%: soon,fail=5% */
	h->now = strncmp(text, "now,", 4) == 0;
	if (h->now || strncmp(text, "soon,", 5) == 0)
		text = strchr(text, ',') + 1;
	for (size_t i = 0; i < ARRAY_SIZE(halt_counts) && text != given; i++) {
		size_t len = strlen(halt_counts[i].name);
		h->count = halt_counts[i].count;
		if (strncmp(text, halt_counts[i].name, len) == 0 && halt_number(text + len, h))
			return 0;
	}
	return err_set(e, 0,
		       "--halt '%s': write never, or now or soon with fail=, success= or done= and "
		       "a number or N%%: now,fail=1",
		       given);
}

static int64_t halt_so_far(const struct each_halt *h)
{
	switch (h->count) {
	case COUNT_FAIL:
		return h->failed;
	case COUNT_SUCCESS:
		return h->succeeded;
	case COUNT_DONE:
		break;
	}
	return h->failed + h->succeeded;
}

static int64_t halt_percentage(int64_t part, int64_t all)
{
	return all ? (part * 100 + all - 1) / all : 0;
}

static bool halt_is_reached(const struct each_halt *h)
{
	int64_t n = halt_so_far(h);
	return h->percent ? n && n * 100 >= h->limit * h->total : n >= h->limit;
}

void each_halt_count(struct each_halt *h, int status)
{
	bool counts = h->count == COUNT_DONE || (h->count == COUNT_FAIL) == (status != 0);
	h->failed += status != 0;
	h->succeeded += status == 0;
	if (!h->on || h->reached || !counts || !halt_is_reached(h))
		return;
	h->reached = true;
	if (h->count == COUNT_SUCCESS)
		h->status = 0;
	else if (h->percent)
		h->status = (int)halt_percentage(h->failed, h->total);
	else
		h->status = h->limit == 1 ? status : (int)MIN2(h->failed, STATUS_MAX);
}

int each_halt_status(const struct each_halt *h)
{
	if (h->reached)
		return h->status;
	if (h->on && h->percent)
		return (int)halt_percentage(h->failed, h->failed + h->succeeded);
	return (int)MIN2(h->failed, STATUS_MAX);
}

void each_halt_print(const struct each_halt *h, struct buf *b)
{
	int64_t limit = h->percent ? MAX2((h->limit * h->total + 99) / 100, 1) : h->limit;
	buf_addf(b, "%s,%s%lld", h->now ? "now" : "soon", halt_counts[h->count].name,
		 (long long)limit);
}
