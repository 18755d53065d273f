#include "daemon/spawner/hold.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/spawner/keep.h"
#include "daemon/spawner/report.h"

/* Some for each run that is going through a chain of commands. */
#define HOLD_MAX 64

struct held {
	uint64_t after;
	struct sw_start *start;
	struct start_fds fds;
};

static struct held held[HOLD_MAX];
static unsigned n_held;
static struct {
	uint64_t token, after; /* 0: none */
} next;

void hold_next(uint64_t token, uint64_t after)
{
	next.token = token;
	next.after = after;
}

static unsigned hold_find(uint64_t token)
{
	unsigned i = 0;
	while (i < n_held && held[i].start->head.token != token)
		i++;
	return i;
}

static enum op_outcome hold_outcome(uint64_t token)
{
	return hold_find(token) < n_held ? OP_GOES_ON : op_outcome(token);
}

static bool hold_keep(const struct sw_start *start, struct start_fds *fds, uint64_t after)
{
	struct sw_start *copy = n_held < HOLD_MAX ? malloc(start->head.size) : NULL;
	if (!copy)
		return false;
	memcpy(copy, start, start->head.size);
	held[n_held++] = (struct held){ after, copy, *fds };
	*fds = (struct start_fds){ -1, STREAMS_NONE };
	return true;
}

bool hold_start(const struct sw_start *start, struct start_fds *fds, struct child_error *ret_why)
{
	uint64_t after = start->head.token == next.token ? next.after : 0;
	next.token = next.after = 0;
	if (!after)
		return keep_start(start, fds, ret_why);
	switch (hold_outcome(after)) {
	case OP_GOES_ON:
		return hold_keep(start, fds, after);
	case OP_ENDED_WELL:
		return keep_start(start, fds, ret_why);
	case OP_ENDED:
		break;
	}
	return false;
}

/* The others keep their order: each after the one it follows. */
static struct held hold_take(unsigned i)
{
	struct held h = held[i];
	memmove(&held[i], &held[i + 1], (--n_held - i) * sizeof(held[0]));
	return h;
}

static void hold_free(struct held *h)
{
	cleanup_closep(&h->fds.stdin_fd);
	streams_done(&h->fds.streams);
	free(h->start);
}

static void hold_give_back(struct held *h)
{
	report_busy(h->start->head.token, (struct child_error){ 0 });
	hold_free(h);
}

void hold_recall(uint64_t token)
{
	unsigned i = hold_find(token);
	if (i == n_held)
		return;
	struct held h = hold_take(i);
	hold_give_back(&h);
}

static void hold_begin(struct held *h)
{
	struct child_error why = { 0 };
	if (!keep_start(h->start, &h->fds, &why))
		report_busy(h->start->head.token, why);
	hold_free(h);
}

void hold_turn(void)
{
	for (unsigned i = 0; i < n_held;) {
		enum op_outcome o = hold_outcome(held[i].after);
		if (o == OP_GOES_ON) {
			i++;
			continue;
		}
		struct held h = hold_take(i);
		if (o == OP_ENDED_WELL)
			hold_begin(&h);
		else
			hold_give_back(&h);
	}
}

void hold_drop(bool tell)
{
	next.token = next.after = 0;
	while (n_held > 0) {
		struct held h = hold_take(n_held - 1);
		if (tell)
			hold_give_back(&h);
		else
			hold_free(&h);
	}
}
