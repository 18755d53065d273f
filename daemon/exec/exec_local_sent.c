#include "daemon/exec/exec_local_sent.h"

#include <event2/event.h>

#include "common/log.h"
#include "common/timeutil.h"
#include "common/trouble.h"
#include "daemon/exec/exec_local_kin.h"

#define SENT_SILENT_MS 10000 /* a spawner at work answers within milliseconds */

static int64_t sent_age_ms(const struct sent *s)
{
	const struct attempt *a = list_entry(s->starts.next, struct attempt, sent);
	return time_mono_ms() - a->sent_ms;
}

static void sent_arm(struct sent *s, int64_t in_ms)
{
	struct timeval tv = { .tv_sec = in_ms / 1000, .tv_usec = in_ms % 1000 * 1000 };
	evtimer_add(s->timer, &tv);
}

static void sent_say(struct exec_local *x)
{
	int pid = (int)spawner_link_pid(x->link);
	trouble_say(TROUBLE_SPAWNER, 3 * SENT_SILENT_MS,
		    "the spawner (pid %d) does not answer, and ops wait to be started: `kill -CONT "
		    "%d` if it was stopped; else `kill -9 %d`: another one goes on with its ops",
		    pid, pid, pid);
	if (!x->sent.said)
		log_warn("the spawner (pid %d) has not answered for %d s", pid,
			 SENT_SILENT_MS / 1000);
	x->sent.said = true;
}

static void sent_on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct exec_local *x = arg;
	(void)fd;
	(void)what;
	if (list_empty(&x->sent.starts))
		return;
	int64_t left = SENT_SILENT_MS - sent_age_ms(&x->sent);
	/* One that is gone is named by who looks for another. */
	if (left <= 0 && spawner_link_is_up(x->link))
		sent_say(x);
	sent_arm(&x->sent, left > 0 ? left : SENT_SILENT_MS);
}

void sent_init(struct exec_local *x, struct event_base *base)
{
	list_init(&x->sent.starts);
	x->sent.timer = evtimer_new(base, sent_on_timer, x);
}

void sent_done(struct exec_local *x)
{
	event_free(x->sent.timer);
}

void sent_start(struct exec_local *x, struct attempt *a)
{
	a->sent_ms = time_mono_ms();
	if (list_empty(&x->sent.starts))
		sent_arm(&x->sent, SENT_SILENT_MS);
	list_add_tail(&x->sent.starts, &a->sent);
}

void sent_answered(struct exec_local *x, struct attempt *a)
{
	struct sent *s = &x->sent;
	if (list_empty(&a->sent))
		return;
	list_del(&a->sent);
	if (s->said && (list_empty(&s->starts) || sent_age_ms(s) < SENT_SILENT_MS)) {
		s->said = false;
		trouble_over(TROUBLE_SPAWNER);
		log_info("the spawner answers again");
	}
	if (list_empty(&s->starts))
		evtimer_del(s->timer);
}
