/* A service is ready when its output holds a text. */
#include <string.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/text.h"
#include "daemon/exec/executor.h"
#include "daemon/exec/output.h"
#include "daemon/exec/ready_impl.h"
#include "daemon/exec/runlog.h"
#include "daemon/exec/work.h"

#define PIECE_BYTES (64 << 10)
#define PIECES_AT_ONCE 64 /* then others have the thread */

/* --- on some thread --- */

/* The next piece of a stream, and of the one before as much as the text may have begun in. True:
 * there may be more. */
static bool look_piece(struct ready_watch *w, enum stream stream, int *error)
{
	_cleanup_buf_ struct buf data = BUF_INIT;
	int64_t *at = &w->at[stream - STREAM_STDOUT], from, next, dropped;
	int64_t back = MIN2(*at, (int64_t)w->match_len - 1);
	*error = runlog_read(w->log, token_op(w->token), token_attempt(w->token), stream,
			     *at - back, back + PIECE_BYTES, &data, NULL, &from, &next, &dropped);
	if (*error < 0)
		return false;
	if (data.len)
		w->found = memmem(data.p, data.len, w->match, w->match_len) != NULL;
	bool more = next > *at;
	*at = MAX2(*at, next);
	return more && !w->found;
}

static int look_log(struct ready_watch *w)
{
	const char *dir = output_dir(w->owner->output);
	int r = w->log ? runlog_refresh(w->log) : runlog_open(dir, token_run(w->token), &w->log);
	int left = PIECES_AT_ONCE;
	for (int s = STREAM_STDOUT; r == 0 && s <= STREAM_STDERR && !w->found; s++)
		while (left > 0 && look_piece(w, (enum stream)s, &r))
			left--;
	w->more = left == 0;
	return r;
}

static void match_run(void *arg)
{
	struct ready_watch *w = arg;
	int r = look_log(w);
	if (r < 0) /* looked at again when there is more */
		log_warn("cannot look whether op %u of run %llu is ready: %s", token_op(w->token),
			 (unsigned long long)token_run(w->token), errno_text(-r));
}

/* --- on the loop thread --- */

static void match_done(void *arg)
{
	struct ready_watch *w = arg;
	w->busy = false;
	if (w->gone)
		ready_watch_free(w);
	else if (w->found)
		ready_tell(w);
	else if (w->again || w->more)
		ready_match_look(w);
}

void ready_match_look(struct ready_watch *w)
{
	w->again = w->busy;
	if (w->busy)
		return;
	w->busy = true;
	work_submit(w->owner->work, match_run, match_done, w);
}
