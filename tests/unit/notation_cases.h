/*
 * The notation's cases: tests/data/notation/NAME.in, beside it NAME.json (the batch it is) or
 * NAME.err (lines that its error must hold). What options a case is read with stands here.
 */
#ifndef TESTS_NOTATION_CASES_H
#define TESTS_NOTATION_CASES_H

#include "client/verbs.h"

struct notation_case {
	const char *name;
	struct reading how;
};

static const char *case_who[] = { "who=bob" };
static const char *case_defines[] = { "who=bob", "fromFile=@" TEST_DATA "/notation-define.txt",
				      "eq=a=b", "raw=@" TEST_DATA "/notation-define.bin" };

static const struct notation_case notation_cases[] = {
	{ "v10-template-allowed", { .allow_template = true, .define = { case_who, 1 } } },
	{ "v14-foreign-skipped", { .skip_unknown = true } },
	{ "defined", { .define = { case_defines, 4 } } },
	{ "md-block-3", { .block = "3" } },
	{ "md-block-1-4", { .block = "1,4" } },
	{ "md-block-all", { .block = "all" } },
	{ "md-block-9", { .block = "9" } },
	{ "calls-skip", { .skip_unknown = true } },
	{ "buried-op-skipped", { .skip_unknown = true } },
};

static inline const struct reading *notation_case_reading(const char *name)
{
	static const struct reading plain;
	for (size_t i = 0; i < ARRAY_SIZE(notation_cases); i++)
		if (strcmp(name, notation_cases[i].name) == 0)
			return &notation_cases[i].how;
	return &plain;
}

#endif
