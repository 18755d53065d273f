#include "client/habits.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "common/cleanup.h"

struct habit {
	const char *command, *words, *here; /* words: blank between them */
};

static const struct habit habits[] = {
	/* pueue's and others' verbs */
	{ "batchctl", "start enqueue unpause continue", "`batchctl resume RUN`" },
	{ "batchctl", "stash hold", "`batchctl submit --hold`, `batchctl pause RUN`" },
	{ "batchctl", "stop abort terminate", "`batchctl cancel RUN`, or `batchctl daemon stop`" },
	{ "batchctl", "remove rm delete", "`batchctl cancel RUN`, then `batchctl clean RUN`" },
	{ "batchctl", "clear cleanup forget purge prune", "`batchctl clean`" },
	{ "batchctl", "reset", "`batchctl cancel all`, then `batchctl clean`" },
	{ "batchctl", "shutdown quit", "`batchctl daemon stop`" },
	{ "batchctl", "parallel concurrency",
	  "`batchctl group set NAME -j N`, or `batchctl each`" },
	{ "batchctl", "xargs foreach map", "`batchctl each`" },
	{ "batchctl", "list ls ps jobs queue l", "`batchctl status`" },
	{ "batchctl", "show output cat logs", "`batchctl log RUN`" },
	{ "batchctl", "tail attach", "`batchctl log -f RUN`" },
	{ "batchctl", "watch", "`batchctl top`, or `batchctl follow RUN`" },
	{ "batchctl", "info inspect describe why", "`batchctl explain RUN.OP`" },
	{ "batchctl", "re rerun retry", "`batchctl restart [--failed] RUN`" },
	{ "batchctl", "exec", "`batchctl run -- CMD`" },
	{ "batchctl", "send", "given at the start: `batchctl run --stdin`, or `stdin` of an op" },
	{ "batchctl", "edit switch",
	  "a new batch: `batchctl cancel RUN`, then submit the changed one" },
	{ "batchctl", "env", "`batchctl submit -E K=V`, or `env` of a batch or op" },
	{ "batchctl", "ping", "`batchctl daemon status`" },
	{ "batchctl", "version", "`batchctl --version`" },
	{ "batchctl", "progress", "`batchctl follow RUN`, or `batchctl top`" },
	{ "batchctl", "format-status", "`batchctl status --json`" },
	{ "batchctl", "man", "`man batchctl`, or `batchctl help VERB`" },
	/* docker compose */
	{ "batchctl", "up", "`batchctl submit FILE`" },
	{ "batchctl", "down", "`batchctl cancel all`" },
	{ "batchctl", "config", "`batchctl check FILE`" },
	{ "batchctl", "events", "`batchctl follow RUN`" },
	/* task-spooler has letters for verbs */
	{ "batchctl", "-l", "`batchctl status`" },
	{ "batchctl", "-c -o", "`batchctl log RUN`" },
	{ "batchctl", "-t", "`batchctl log -f RUN`" },
	{ "batchctl", "-k", "`batchctl cancel RUN`" },
	{ "batchctl", "-r", "`batchctl cancel RUN`, then `batchctl clean RUN`" },
	{ "batchctl", "-w", "`batchctl wait RUN`" },
	{ "batchctl", "-i -p -s", "`batchctl status RUN`" },
	{ "batchctl", "-S", "`batchctl group set NAME -j N`" },
	{ "batchctl", "-K", "`batchctl daemon stop`" },
	{ "batchctl", "-u", "`batchctl submit --priority N`" },
	{ "batchctl", "-f", "`batchctl run -- CMD`" },
	{ "batchctl", "-n -B -E", "`batchctl add -- CMD`" },
	{ "batchctl", "-d -D -W", "`batchctl add --after RUN -- CMD`" },
	{ "batchctl", "-L", "`batchctl add --name NAME -- CMD`" },
	{ "batchctl", "-V", "`batchctl --version`" },
	/* options */
	{ "batchctl add", "-l -L --label", "--name" },
	{ "batchctl add", "-a -D -W", "--after RUN" },
	{ "batchctl add", "-d", "--delay D, or --after RUN" }, /* pueue's and task-spooler's */
	{ "batchctl add", "-s --stashed", "--hold" },
	{ "batchctl add", "-i --immediate", "--priority" },
	{ "batchctl add", "-p --print-task-id", "what it prints anyway" },
	{ "batchctl add", "--working-directory", "-C DIR" },
	{ "batchctl add", "-f --follow", "--wait --output" },
	/* systemd-run's, docker's */
	{ "batchctl run", "-u --unit --description", "--name NAME" },
	{ "batchctl run", "--working-directory --workdir --chdir -w", "-C DIR" },
	{ "batchctl run", "-p --property", "--timeout D, or `ulimit` and `nice` in the command" },
	{ "batchctl run", "--user --scope --collect --same-dir -G --rm", "what it does anyway" },
	{ "batchctl run", "--on-active", "`batchctl add --delay D -- CMD`" },
	{ "batchctl run", "-d --detach --no-block", "`batchctl add -- CMD`" },
	{ "batchctl run", "-i --interactive", "--stdin: it is read to its end first" },
	{ "batchctl run", "--pty -P --pipe", "-t, or --stdin" },
	{ "batchctl run", "-l --label", "--name" },
	{ "batchctl submit", "-l --label", "--name" },
	{ "batchctl submit", "-c --command", "-e CMD" },
	{ "batchctl submit", "-d --detach", "what it does anyway" },
	{ "batchctl submit", "-f --file", "`batchctl submit FILE`" },
	{ "batchctl log", "-l -t --tail", "-n N" },
	{ "batchctl log", "-a --all", "`batchctl log all`" },
	{ "batchctl log", "--full", "what it prints anyway" },
	{ "batchctl cancel", "-a --all", "`batchctl cancel all`" },
	{ "batchctl pause", "-a --all", "`batchctl pause all`" },
	{ "batchctl pause", "-g --group", "`batchctl group pause NAME`" },
	{ "batchctl resume", "-a --all", "`batchctl resume all`" },
	{ "batchctl resume", "-g --group", "`batchctl group resume NAME`" },
	{ "batchctl wait", "-a --all", "`batchctl wait all`" },
	{ "batchctl wait", "-t", "--timeout D" },
	{ "batchctl wait", "-g --group", "the runs that `batchctl status --group NAME` lists" },
	{ "batchctl cancel", "-g --group", "the runs that `batchctl status --group NAME` lists" },
	{ "batchctl follow", "-a --all", "`batchctl follow all`" },
	{ "batchctl status", "-a --all", "--everywhere" },
	{ "batchctl status", "-j", "--json" },
	{ "batchctl restart", "-a --all-failed", "--failed" },
	{ "batchctl restart", "-i --in-place", "a new run: `batchctl restart RUN`" },
	{ "batchctl clean", "-a --all", "`batchctl clean all`" },
	{ "batchctl clean", "-s --successful-only", "`batchctl clean RUN`" },
	/* what GNU parallel has and each has not */
	{ "batchctl each",
	  "--pipe --pipepart --spreadstdin --cat --fifo --round-robin --recstart --recend",
	  "`split` of the input into files, then each of these" },
	{ "batchctl each",
	  "-S --sshlogin --slf --sshloginfile --onall --nonall --transfer --transferfile --basefile "
	  "--return --trc --cleanup",
	  "this machine only: `ssh HOST CMD` as the command" },
	{ "batchctl each", "--memfree --memsuspend --load --noswap --limit",
	  "a number, -j N, or a pool, -g POOL: nothing is measured" },
	{ "batchctl each", "--tmux --tmuxpane --latest-line --ll", "`batchctl top`" },
	{ "batchctl each", "--files", "--results DIR" },
	{ "batchctl each", "--csv", "--colsep ," },
	{ "batchctl each", "--skip-first-line", "--header :, or `tail -n +2` of the input" },
	{ "batchctl each", "--filter", "`grep` of the input" },
	{ "batchctl each", "--interactive -p", "--dry-run" },
	{ "batchctl each", "--ctag --ctagstring", "--tag" },
	{ "batchctl each", "--tty --open-tty", "`batchctl run -t -- CMD`" },
	{ "batchctl each", "--compress --plain --silent", "what it does anyway: leave it out" },
	{ "batchctl each", "--number-of-cores --number-of-cpus --number-of-threads", "`nproc`" },
	{ "batchctl each", "-V", "--version" },
	{ "batchctl each", "--retry-failed", "--resume-failed" },
	{ "batchctl each", "--rpl", "the shell in the command: f={}; echo \"${f%%.*}\"" },
	{ "batchctl each", "--semaphore --id", "a pool: `batchctl group set NAME -j N`" },
	/* sub-verbs */
	{ "batchctl group", "add create new", "`batchctl group set NAME -j N`" },
	{ "batchctl group", "parallel", "`batchctl group set NAME -j N`" },
	{ "batchctl group", "start", "`batchctl group resume NAME`" },
	{ "batchctl group", "status ls show", "`batchctl group list`" },
	{ "batchctl todo", "remove delete del", "`batchctl todo rm ID`" },
	{ "batchctl todo", "ls show", "`batchctl todo list`" },
	{ "batchctl todo", "finish complete check close do tick", "`batchctl todo done ID`" },
	{ "batchctl todo", "edit update mod modify", "`batchctl todo set ID`" },
	{ "batchctl todo", "begin", "`batchctl todo start ID`" },
	{ "batchctl todo", "take next", "`batchctl todo claim`" },
	{ "batchctl todo", "new create", "`batchctl todo add TEXT`" },
	{ "batchctl todo", "history", "`batchctl todo log`" },
	{ "batchctl todo", "follow", "`batchctl todo watch`" },
	{ "batchctl daemon", "restart", "`batchctl daemon stop`, then `batchctl daemon start`" },
	{ "batchctl daemon", "kill shutdown quit", "`batchctl daemon stop`" },
};

static bool habit_has(const char *words, const char *word)
{
	size_t len = strlen(word);
	for (const char *w = words; (w = strstr(w, word)); w += len)
		if ((w == words || w[-1] == ' ') && (w[len] == ' ' || !w[len]))
			return true;
	return false;
}

const char *habit_here(const char *command, const char *word)
{
	for (size_t i = 0; *word && i < ARRAY_SIZE(habits); i++)
		if (strcmp(habits[i].command, command) == 0 && habit_has(habits[i].words, word))
			return habits[i].here;
	return NULL;
}
