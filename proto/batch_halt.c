#include <stdint.h>

#include "common/text.h"
#include "proto/batch.h"

/* Takes `prefix` off *s. */
static bool halt_takes(struct slice *s, const char *prefix)
{
	size_t len = strlen(prefix);
	if (s->len < len || memcmp(s->p, prefix, len) != 0)
		return false;
	*s = slice_of(s->p + len, s->len - len);
	return true;
}

bool batch_halt_parse(struct slice text, struct batch_halt *ret)
{
	static const char *const counts[] = {
		[HALT_FAIL] = "fail=",
		[HALT_SUCCESS] = "success=",
		[HALT_DONE] = "done=",
	};
	int64_t limit;
	*ret = (struct batch_halt){ .now = halt_takes(&text, "now,") };
	if (!ret->now && !halt_takes(&text, "soon,"))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		if (!halt_takes(&text, counts[i]))
			continue;
		ret->count = (enum halt_count)i;
		if (!parse_int(text, 1, INT32_MAX, &limit))
			return false;
		ret->limit = (uint32_t)limit;
		return true;
	}
	return false;
}
