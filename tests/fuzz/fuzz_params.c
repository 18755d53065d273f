/* The params of every method: the first byte chooses it, the rest is the params. A todo item is
 * tried on the same bytes. */
#include <string.h>

#include "common/text.h"
#include "proto/errors.h"
#include "proto/methods.h"
#include "proto/scan.h"
#include "tests/fuzz/fuzz.h"

static void check_err(const struct err *e)
{
	HOLDS(e->sym > E_NONE && e->sym < E_SYMBOL_MAX && e->text[0] &&
	      utf8_valid(slice_str(e->text)));
	HOLDS(!strchr(e->text, '\n'));
}

static void check_item(struct slice raw)
{
	_cleanup_buf_ struct buf meta = BUF_INIT;
	struct todo_item item;
	struct err e = ERR_INIT;
	if (todo_item_decode(raw, "todos[0]", &item, &meta, &e)) {
		check_err(&e);
		return;
	}
	HOLDS(item.priority < TODO_ITEM_CRITICAL && (item.id.p || item.content.p));
	HOLDS(!item.meta.p || value_check(item.meta, LIMIT_META_DEPTH, "meta", &e) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_Alignas(max_align_t) char params[METHOD_PARAMS_MAX];
	struct err e = ERR_INIT;
	struct scan s;
	size_t used;
	if (size < 2)
		return 0;
	scan_init(&s);
	if (scan_feed(&s, data + 1, size - 1, &used) != SCAN_DONE)
		return 0;
	struct slice raw = slice_of(data + 1, used);
	if (method_decode(&methods[data[0] % METHOD_MAX], raw, params, &e))
		check_err(&e);
	check_item(raw);
	return 0;
}
