#include "client/signals.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/signalfd.h>

#include "common/text.h"

/* One that is ignored (nohup(1), a shell's background job) stays so: blocked, it would be queued.
 */
static void signals_add(sigset_t *set, const int *signals)
{
	struct sigaction old;
	for (; *signals; signals++)
		if (sigaction(*signals, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaddset(set, *signals);
}

int signals_watch(int forward)
{
	static const int all[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH, SIGCONT, 0 };
	static const int forwarded[] = { SIGTSTP, SIGQUIT, SIGUSR1, SIGUSR2, 0 };
	sigset_t set;
	sigemptyset(&set);
	signals_add(&set, all);
	if (forward)
		signals_add(&set, forwarded);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

bool signals_ends(int signal)
{
	return signal != SIGWINCH && signal != SIGCONT;
}

const char *signals_name(int signal)
{
	const char *name = sigabbrev_np(signal);
	return name ? name : "?";
}

int signals_number(const char *name)
{
	int64_t number;
	if (parse_int(slice_str(name), 1, NSIG - 1, &number))
		return sigabbrev_np((int)number) ? (int)number : 0;
	if (strncasecmp(name, "SIG", 3) == 0)
		name += 3;
	for (int i = 1; i < NSIG; i++) {
		const char *known = sigabbrev_np(i);
		if (known && strcasecmp(known, name) == 0)
			return i;
	}
	return 0;
}
