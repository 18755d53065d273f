"""Bash ops forked from a shell that is kept warm: nothing that an op can look at tells them from those that were executed."""
import os
import re
import shutil
import signal
import subprocess
import unittest

from harness import Case, alive, bash, batch, command_line, descendants, exec_, expand, proc_stat, process_name, rows, strace_works, until

WARM = 'grep -q batchd-warm-shell /proc/$$/maps || exit 9'     # not as the last thing: that would be executed in its place

# What differs from one process to the next, whoever makes it.
OWN = re.compile(r'\bpipe:\[\d+\]|^SigQ:.*$|^declare \S+ (RANDOM|SRANDOM|EPOCH\w+|BASHPID|SECONDS|PPID|BATCHD_OP|BATCHD_RUN)=.*$'
                 r'|^BATCHD_(OP|RUN)=.*$|(/usr)?(/bin/)?\bbash\b', re.M)

LOOKS = (
    ('who it is', '[ $$ = $BASHPID ]; echo $?; readlink /proc/$$/exe; cat /proc/$$/comm'),
    ('its session, group, terminal', r'read -a s < /proc/$$/stat; echo $((s[4] - $$)) $((s[5] - $$)) ${s[6]} ${s[7]}'),
    ('its command line', r'tr "\0" "\n" < /proc/$$/cmdline'),
    ('its environment as others see it', r'tr "\0" "\n" < /proc/$$/environ'),
    ('its environment as it passes it on', 'env'),
    ('its variables', 'declare -p'),
    ('its options', 'set -o; shopt'),
    ('its files', 'ls -l /proc/$$/fd | sed "s/.* \\([0-9]\\)/\\1/"'),
    ('its signals', 'while read -r l; do case $l in Sig*|Shd*) echo "$l";; esac; done < /proc/$$/status; trap -p; kill -l | head -1'),    # while it waits it catches INT
    # Each op has a number of its own for the file locks: its mark.
    ('its limits', r'(ulimit -a; umask; cat /proc/$$/limits) | sed -E "/file locks/s/ [0-9]+/ N/"'),
    ('its folder', 'pwd; readlink /proc/$$/cwd'),
    ('what else the kernel tells', 'grep -E "^(Threads|NoNewPrivs|Seccomp|Umask|TracerPid)" /proc/$$/status; cat /proc/$$/oom_score_adj'),
    ('an error of syntax', 'echo "'),
    ('a program that is not there', 'no-such-program-here; exit $?'),
    ('what ends it', 'kill -SEGV $$'),
    ('an exit status', 'exit 42'),
    ('what a subshell says', '(echo $BASH_SUBSHELL; exit 3) | cat; echo ${PIPESTATUS[*]}'),
    ('locale and time', 'export TZ=Asia/Tokyo LC_ALL=C.UTF-8; date -d @0; printf "%5.2f\\n" 3; [[ ä < b ]]; echo $?'),
)


def tracer(pid):
    with open('/proc/%d/status' % pid) as f:
        return int(next(line for line in f if line.startswith('TracerPid')).split()[1])


@expand
class WarmShell(Case):
    def shell(self):
        """The pid of the shell that waits, or None."""
        spawner = self.box.spawner_pid()
        for pid in descendants(os.getpid()):
            st = proc_stat(pid)
            if st and st[1] == spawner and command_line(pid) == [b'bash']:
                return pid
        return None

    def run_bash(self, command, **keys):
        return self.box.run(batch([bash(command)], **keys))

    def is_warm(self):
        return self.run_bash(WARM)['state'] == 'succeeded'

    def warm_up(self):
        self.box.run(batch([bash('true')] * 4))
        until(self.is_warm, 'a warm shell')

    def said(self, op, command):
        run = self.box.submit(batch([op('bash', command)]))
        self.box.wait(run)
        one = self.box.get(run)['ops'][0]
        return (one['exit'], one['signal'], OWN.sub('', self.box.output(run, 1).decode()), OWN.sub('', self.box.output(run, 1, 'stderr').decode()))

    @rows(*LOOKS)
    def shows(self, command):
        self.warm_up()
        command += '; exit $?'
        warm = self.said(lambda program, c: bash(c), command)
        self.assertTrue(self.is_warm())
        cold = self.said(lambda program, c: exec_('/usr/bin/bash', '-c', c), command)
        self.assertEqual(warm, cold)

    @rows(
        ('the dynamic linker', {'LD_BIND_NOW': '1'}),
        ('the C library', {'GLIBC_TUNABLES': 'glibc.malloc.check=0'}),
        ('malloc', {'MALLOC_ARENA_MAX': '1'}),
    )
    def is_executed_where_the_environment_speaks_to(self, env):
        self.warm_up()
        self.assertEqual(self.run_bash(WARM, env=env)['state'], 'failed')
        self.assertTrue(self.is_warm())

    def test_another_bash_in_the_path_is_taken(self):
        self.warm_up()
        os.mkdir(self.box.path('bin'))
        shutil.copy('/usr/bin/bash', self.box.path('bin/bash'))
        path = self.box.path('bin') + ':' + os.environ['PATH']
        for _ in range(6):
            run = self.box.submit(batch([bash('readlink /proc/$$/exe; :')], env={'PATH': path}))
            self.box.wait(run)
            self.assertEqual(self.box.output(run, 1).decode().strip(), self.box.path('bin/bash'))

    def test_a_folder_that_is_not_there(self):
        self.warm_up()
        run = self.box.submit(batch([bash('true', cwd=self.box.path('nowhere'))]))
        op = self.box.get(self.box.wait(run)['run'])['ops'][0]
        self.assertEqual(op['state'], 'failed')
        self.assertIn('no such file', op['error'])
        self.assertTrue(self.is_warm())

    @rows(('killed', signal.SIGKILL), ('stopped', signal.SIGSTOP))
    def goes_on_when_its_shell_is(self, sig):
        self.warm_up()
        shell = self.shell()
        os.kill(shell, sig)
        run = self.box.run(batch([bash('echo x >> ran%d' % n) for n in range(5)]), timeout=60)
        self.assertEqual(run['state'], 'succeeded')
        for n in range(5):
            self.assertEqual(self.box.text('ran%d' % n), 'x\n')
        until(lambda: not alive(shell), 'the end of the shell')

    def test_what_it_was_asked_is_done_under_the_next_batchd(self):
        """The START was the last batchd's, and that the shell does not answer is found under the next."""
        self.warm_up()
        os.kill(self.shell(), signal.SIGSTOP)
        run = self.box.submit(batch([bash('echo x >> ran')]))
        self.box.wait(self.box.submit(batch([exec_('true')])))      # so the one before it is asked for
        self.box.restart()
        self.assertEqual(self.box.wait(run)['state'], 'succeeded')
        self.assertEqual(self.box.text('ran'), 'x\n')

    @unittest.skipUnless(strace_works(), 'strace cannot trace here')
    def test_what_it_had_begun_when_it_was_killed_is_not_begun_again(self):
        """It has not read all that was asked of it, and its children say what they are while nobody listens."""
        n = 20
        self.box.call('group.set', group='wide', slots=n)
        self.warm_up()
        shell, spawner = self.shell(), self.box.spawner_pid()
        os.kill(shell, signal.SIGSTOP)
        run = self.box.submit(batch([bash('echo x >> ran%d' % i) for i in range(n)], group='wide'))
        self.box.wait(self.box.submit(batch([exec_('true')], group='other')))       # so those before it are asked for
        slow = subprocess.Popen(['strace', '-qq', '-f', '-o', self.box.path('trace'), '-e', 'inject=setsid:delay_enter=1000000', '-p', str(shell)])
        until(lambda: tracer(shell) == slow.pid, 'strace')
        os.kill(shell, signal.SIGCONT)
        children = until(lambda: [p for p in descendants(os.getpid()) if p != shell and (proc_stat(p) or '--')[1] == spawner], 'the first child')
        os.kill(shell, signal.SIGKILL)
        until(lambda: not proc_stat(shell), 'the end of the shell')
        os.kill(spawner, signal.SIGSTOP)
        until(lambda: not any(alive(p) for p in children), 'the end of its children')
        os.kill(spawner, signal.SIGCONT)
        self.assertEqual(self.box.wait(run)['state'], 'succeeded')
        slow.wait()
        self.assertEqual([self.box.text('ran%d' % i) for i in range(n)], ['x\n'] * n)

    def test_what_an_op_left_behind_is_seen_while_the_shell_is_asked(self):
        """A child that nobody knows may be the one that the shell is just making, or not."""
        self.warm_up()
        gate = self.box.fifo('gate')
        run = self.box.submit(batch([bash("setsid bash -c 'echo $$ > child; exec sleep 300' </dev/null >/dev/null 2>&1 & read x < gate")]))
        until(lambda: self.box.exists('child') and process_name(int(self.box.text('child') or 0)) == 'sleep', 'its child')
        os.kill(self.shell(), signal.SIGSTOP)
        other = self.box.submit(batch([bash('true')]))
        self.box.wait(self.box.submit(batch([exec_('true')])))      # so the one before it is asked for
        with open(gate, 'w') as f:
            f.write('\n')
        self.box.wait(run)
        self.assertEqual(self.box.get(run)['ops'][0]['lingering'], 1)
        self.assertFalse(alive(int(self.box.text('child'))))
        self.box.wait(other)

    def test_the_shell_goes_with_its_spawner(self):
        self.warm_up()
        shell = self.shell()
        self.assertTrue(shell)
        os.kill(self.box.spawner_pid(), signal.SIGKILL)
        until(lambda: not alive(shell), 'the end of the shell')
        self.assertEqual(self.run_bash('true')['state'], 'succeeded')

    def test_its_ops_outlive_batchd_and_are_cancelled_whole(self):
        self.warm_up()
        run = self.box.submit(batch([bash('sleep 1000 & echo $! > child; ' + WARM + ' && echo $$ > own; wait')]))
        until(lambda: self.box.exists('own') and self.box.text('own').strip(), 'the op')
        pids = int(self.box.text('own')), int(self.box.text('child'))
        self.box.kill_daemon()
        self.box.start()
        self.assertTrue(all(alive(p) for p in pids))
        self.box.call('run.cancel', run=run)
        self.assertEqual(self.box.wait(run)['state'], 'cancelled')
        self.assertFalse(any(alive(p) for p in pids))

    def test_upgrade_of_the_spawner(self):
        self.warm_up()
        shell, spawner = self.shell(), self.box.spawner_pid()
        run = self.box.submit(batch([bash('echo > began; until test -e go; do sleep 0.05; done; exit 7')]))
        until(lambda: self.box.exists('began'), 'the op')
        os.kill(spawner, signal.SIGHUP)
        until(lambda: not alive(shell), 'the end of the shell')
        self.box.put('go')
        self.box.wait(run)
        self.assertEqual(self.box.get(run)['ops'][0]['exit'], 7)
        self.warm_up()


if __name__ == '__main__':
    unittest.main()
