#include "daemon/exec/exec_local_kin.h"

#include <errno.h>
#include <sys/wait.h>

#include "common/timeutil.h"

static int kin_wait_status(const siginfo_t *si)
{
	if (si->si_code == CLD_EXITED)
		return (si->si_status & 0xff) << 8;
	return si->si_code == CLD_DUMPED ? si->si_status | 0x80 : si->si_status;
}

static void kin_reaped(struct exec_local *x, struct attempt *a, const siginfo_t *si)
{
	bool over = a->report.state == SW_LOST;
	a->report.state = SW_EXITED;
	a->report.wait_status = kin_wait_status(si);
	a->report.ended_ms = time_wall_ms();
	a->report.duration_ms = MAX2(a->report.ended_ms - a->report.started_ms, 0);
	a->reaped = true;
	list_del(&a->child);
	/* What it left behind the spawner finds by its session, sees to its end and says so. */
	if (over)
		attempt_exited(x, a);
}

bool kin_adopt(struct exec_local *x, struct attempt *a)
{
	siginfo_t si = { 0 };
	if (!list_empty(&a->child))
		return true;
	if (!x->can_start ||
	    waitid(P_PID, (id_t)a->report.pid, &si, WEXITED | WNOHANG | WNOWAIT) < 0)
		return false;
	list_add_tail(&x->children, &a->child);
	return true;
}

static struct attempt *kin_child(struct exec_local *x, int32_t pid)
{
	list_for (&x->children, at) {
		struct attempt *a = list_entry(at, struct attempt, child);
		if (a->report.pid == pid)
			return a;
	}
	return NULL;
}

bool kin_spawner_is_dead(const struct exec_local *x)
{
	siginfo_t si = { 0 };
	return waitid(P_PID, (id_t)spawner_link_pid(x->link), &si, WEXITED | WNOHANG | WNOWAIT) ==
		       0 &&
	       si.si_pid != 0;
}

void kin_reap(struct exec_local *x)
{
	while (spawner_link_is_up(x->link)) {
		siginfo_t si = { 0 };
		if (waitid(P_ALL, 0, &si, WEXITED | WNOHANG | WNOWAIT) < 0 || si.si_pid == 0)
			return;
		if (kin_spawner_is_dead(x)) /* asked last: what it held comes with its death */
			return;
		while (waitpid(si.si_pid, NULL, 0) < 0 && errno == EINTR)
			;
		struct attempt *a = kin_child(x, si.si_pid);
		if (a && a->stage < ATTEMPT_EXITED)
			kin_reaped(x, a, &si);
	}
}
