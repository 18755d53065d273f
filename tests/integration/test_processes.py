"""Contract section 1, Processes: how commands are started, what they are given, how they are ended."""
import os
import signal
import time
import unittest

from harness import PATIENCE, SLOW, Case, Rpc, alive, bash, batch, descendants, exec_, expand, message, proc_stat, rows, todos, until


def failed(cause, **keys):
    return dict({'state': 'failed', 'cause': cause}, **keys)


@expand
class Started(Case):
    """What a command sees."""

    @rows(
        ('bash is bash: braces expand', bash('echo a{1,2,3}b'), b'a1b a2b a3b\n'),
        ('arrays and [[ work', bash('a=(x y); [[ ${a[1]} == y ]] && echo yes'), b'yes\n'),
        ('another shell', bash('echo ${BASH_VERSION:-none}', shell='sh'), b'none\n'),
        ('a shell with a path', bash('echo ${BASH_VERSION:-none}', shell='/bin/sh'), b'none\n'),
        ('stdin is /dev/null', bash('readlink /proc/self/fd/0; cat'), b'/dev/null\n'),
        ('stdin given as bytes', bash('cat', stdin=b'a\0\xffb'), b'a\0\xffb'),
        ('stdin given as str', exec_('cat', stdin='hällo'), 'hällo'.encode()),
        ('stdin given empty', bash('cat', stdin=''), b''),
        ('stdin from a file', exec_('cat', stdin={'file': 'input'}), b'from a file'),
        ('an argv is handed on byte for byte', exec_('printf', '%s|', 'a b', '$HOME', '*', '', b'\xff\xfe', "'\"\\", '\n'),
         b"a b|$HOME|*||\xff\xfe|'\"\\|\n|"),
        ('a command of bytes', bash(b'printf "%s" "\xff\xfe"'), b'\xff\xfe'),
        ('each op has its own session', bash('read -r p _ _ _ pg s _ < /proc/self/stat; test $pg = $s && echo leader'), None),
        ('cwd is the batch\'s', bash('pwd; echo $PWD'), None),
        ('env of the op', bash('echo $A', env={'A': 'x y'}), b'x y\n'),
        ('an env value of bytes', bash('printf %s "$A"', env={'A': b'\xff'}), b'\xff'),
    )
    def sees(self, op, expected):
        self.box.put('input', 'from a file')
        run = self.box.run(batch([op]))
        out = self.box.output(run['run'], 1, 'stdout')
        err = self.box.output(run['run'], 1, 'stderr')
        self.assertEqual(run['state'], 'succeeded', (run['ops'], err))
        if expected is not None:
            self.assertEqual(out, expected)
        else:
            self.assertTrue(out)

    def test_cwd(self):
        b = self.box
        os.makedirs(b.path('sub', 'deep'))
        run = b.run(batch([bash('pwd; echo $PWD'), bash('pwd; echo $PWD', cwd='sub/deep'), bash('pwd', cwd='/')]))['run']
        self.assertEqual(b.output(run, 1).decode(), '%s\n%s\n' % (b.work, b.work))
        self.assertEqual(b.output(run, 2).decode(), '%s\n%s\n' % ((b.path('sub/deep'),) * 2))
        self.assertEqual(b.output(run, 3), b'/\n')

    def test_session_and_process_group(self):
        run = self.box.run(batch([bash('ps -o pid=,pgid=,sid= -p $$')]))
        pid, group, session = self.box.output(run['run'], 1).split()
        self.assertEqual(pid, group)
        self.assertEqual(pid, session)
        self.assertEqual(int(pid), run['ops'][0]['pid'])

    def test_signals_are_as_at_login(self):
        # The masks as the kernel shows them, SIGPIPE and SIGXFSZ among them; bash itself ignores none when not interactive.
        run = self.box.run(batch([exec_('grep', '-E', '^Sig(Blk|Ign):', '/proc/self/status')]))['run']
        for line in self.box.output(run, 1).decode().splitlines():
            self.assertEqual(int(line.split()[1], 16), 0, line)

    def test_env_is_laid_over_env_base(self):
        b = self.box
        run = b.run(batch([bash('env -0', env={'C': 'op', 'D': None})], env={'B': 'batch', 'C': 'batch', 'X': None}),
                    env_base={'PATH': '/usr/bin:/bin', 'A': 'base', 'B': 'base', 'D': 'base', 'X': 'base'})['run']
        env = dict(v.split(b'=', 1) for v in b.output(run, 1).split(b'\0') if v)
        self.assertEqual([env.get(n) for n in (b'A', b'B', b'C', b'D', b'X')], [b'base', b'batch', b'op', None, None])
        self.assertNotIn(b'HOME', env, 'env_base is the whole base')

    def test_ids_in_the_environment(self):
        b = self.box
        run = b.run(batch([bash('true'), bash('echo $BATCHD_SOCKET:$BATCHD_RUN:$BATCHD_OP:$BATCHD_ATTEMPT', id='me')]),
                    env_base=b.env(BATCHD_RUN='lie', BATCHD_SOCKET='lie'))['run']
        sock, r, op, attempt = b.output(run, 2).decode().strip().split(':')
        self.assertEqual((sock, r, attempt), (b.socket, str(run), '1'))
        self.assertIn(op, ('2', 'me'))

    def test_the_list_in_the_environment(self):
        b = self.box
        run = b.run(batch([bash('echo "$BATCHD_LIST"')], list='mine'))['run']
        self.assertEqual(b.output(run, 1), b'mine\n')

    def test_attempts_are_numbered(self):
        run = self.box.run(batch([bash('echo $BATCHD_ATTEMPT >> f; test $BATCHD_ATTEMPT = 3', retries=4, retry_delay=0)]))
        self.assertEqual((run['state'], self.box.text('f')), ('succeeded', '1\n2\n3\n'))

    def test_a_program_without_a_slash_is_looked_up_in_the_ops_path(self):
        b = self.box
        b.put('bin/hello', '#!/bin/sh\necho own\n', 0o755)
        run = b.run(batch([exec_('hello', env={'PATH': b.path('bin') + ':/usr/bin:/bin'}), exec_('hello')]))
        self.match([{'state': 'succeeded'}, failed('start', exit=None)], run['ops'])
        self.assertEqual(b.output(run['run'], 1), b'own\n')

    def test_umask(self):
        b = self.box
        b.run(batch([bash('touch a; umask > ua')], umask='077'))
        b.run(batch([bash('touch b; umask > ub')]))
        self.assertEqual((b.text('ua').strip()[-3:], b.text('ub').strip()[-3:]), ('077', '022'))
        self.assertEqual(os.stat(b.path('a')).st_mode & 0o777, 0o600)

    def test_a_pty(self):
        run = self.box.run(batch([bash('test -t 0 && test -t 1 && test -t 2 && echo tty', pty=True)]))
        self.assertEqual(run['state'], 'succeeded', run['ops'])
        self.assertIn(b'tty', self.box.output(run['run'], 1))

    def test_a_pty_is_as_large_as_the_environment_says(self):
        sizes = (({}, b'24 80'), ({'COLUMNS': '132', 'LINES': '50'}, b'50 132'), ({'COLUMNS': 'wide', 'LINES': '0'}, b'24 80'))
        run = self.box.run(batch([bash('stty size', pty=True, env=env) for env, _ in sizes]))
        self.assertEqual([self.box.output(run['run'], i + 1).strip() for i in range(3)], [size for _, size in sizes])

    def test_what_the_daemon_has_open_does_not_leak(self):
        r, w = os.pipe()
        try:
            run = self.box.run(batch([exec_('ls', '-l', '/proc/self/fd')]))['run']
            lines = [l for l in self.box.output(run, 1).decode().splitlines() if '->' in l]
            self.assertEqual(sorted(l.split()[-3] for l in lines), ['0', '1', '2', '3'], 'ls itself opens 3')
        finally:
            os.close(r), os.close(w)


@expand
class NotStarted(Case):
    """`start` means that nothing was executed."""

    @rows(
        ('a program that is not there', exec_('no-such-program'), failed('start', exit=None), 'no-such-program'),
        ('a program that is not executable', exec_('./plain'), failed('start', exit=None), 'plain'),
        ('a folder as program', exec_('/'), failed('start', exit=None), '/'),
        ('a cwd that is not there', bash('true', cwd='nowhere'), failed('start', exit=None), 'nowhere'),
        ('a cwd that is a file', bash('true', cwd='plain'), failed('start', exit=None), 'plain'),
        ('a shell that is not there', bash('true', shell='no-shell'), failed('start', exit=None), 'no-shell'),
        ('a stdin file that is not there', bash('cat', stdin={'file': 'nofile'}), failed('start', exit=None), 'nofile'),
        ("bash's own 127 is an exit", bash('no-such-program'), failed('exit', exit=127), None),
        ("bash's own 126 is an exit", bash('./plain'), failed('exit', exit=126), None),
    )
    def start(self, op, expected, says):
        self.box.put('plain', 'x')
        run = self.box.run(batch([op, bash('true')]))
        self.match([expected, {'state': 'succeeded'}], run['ops'])
        error = run['ops'][0]['error']
        if says:
            self.assertIn(says, error)
            self.assertNotIn('\n', error)


@expand
class Ended(Case):
    """Stopping is TERM, a grace time, KILL, for the whole tree."""

    def pids(self, *names):
        until(lambda: all(self.box.exists(n) and self.box.text(n).strip() for n in names), 'the pids in %r' % (names,))
        return [int(self.box.text(n)) for n in names]

    def test_term_comes_first(self):
        b = self.box
        run = b.submit(batch([bash('trap "echo bye; exit 3" TERM; echo $$ > pid; while :; do sleep .02; done')]))
        self.pids('pid')
        b.call('run.cancel', run=run)
        b.wait(run)
        self.match([{'state': 'cancelled', 'cause': 'cancel'}], b.get(run)['ops'])
        self.assertEqual(b.output(run, 1, 'stdout'), b'bye\n')

    def test_what_ignores_term_is_killed_after_the_grace(self):
        b = self.box
        run = b.submit(batch([bash('trap "" TERM; echo $$ > pid; while :; do sleep .02; done')]))
        pid, = self.pids('pid')
        begun = time.monotonic()
        b.call('run.cancel', run=run, grace='300ms')
        b.wait(run)
        self.assertGreaterEqual(time.monotonic() - begun, 0.3)
        self.assertFalse(alive(pid))
        self.match([{'state': 'cancelled'}], b.get(run)['ops'])

    def test_the_grace_of_a_timeout_is_that_of_the_configuration(self):
        b = self.box
        b.stop_quietly()
        os.makedirs(os.path.join(b.dir, 'home', '.config', 'batchd'))
        with open(os.path.join(b.dir, 'home', '.config', 'batchd', 'batchd.conf'), 'w') as f:
            f.write('grace = 300ms\n')
        b.start()
        begun = time.monotonic()
        run = b.run(batch([bash('trap "" TERM; while :; do sleep .02; done', timeout=0.2)]))
        self.assertLess(time.monotonic() - begun, 4 * SLOW)
        self.match([failed('timeout', exit=None)], run['ops'])

    @rows(
        ('cancel', {}, {}, {}),
        ('the timeout of the op', {'timeout': 2 * SLOW}, {}, {}),
        ('the timeout of the message', {}, {'timeout': 2 * SLOW}, {}),
        ('the timeout of the run', {}, {}, {'timeout': 2 * SLOW}),
    )
    def the_whole_tree_is_ended_by(self, op, of_message, of_batch):
        b = self.box
        run = b.submit(batch(message(bash('''
            sleep 60 & echo $! > child
            (sleep 60 & echo $! > grandchild; wait) &
            setsid sh -c 'echo $$ > session; exec sleep 60' &
            (setsid env -i /bin/sh -c 'echo $$ > daemon; exec /bin/sleep 60' < /dev/null > /dev/null 2>&1 &)
            wait''', **op), bash('exec sleep 60'), **of_message), **of_batch))
        pids = self.pids('child', 'grandchild', 'session', 'daemon')
        if not (op or of_message or of_batch):
            b.call('run.cancel', run=run)
        until(lambda: b.get(run)['ops'][0]['state'] in ('failed', 'cancelled'), 'the end of the op')
        for pid in pids:
            self.assertFalse(alive(pid), pid)
        if op:
            b.call('run.cancel', run=run)
        b.wait(run)

    def test_a_process_group_of_its_own_does_not_escape(self):
        b = self.box
        run = b.run(batch([bash('timeout 60 sh -c "echo \\$\\$ > pid; exec sleep 60"', timeout='2s')]))
        self.match([failed('timeout')], run['ops'])
        self.assertFalse(alive(self.pids('pid')[0]))

    def test_a_child_that_outlives_its_op_is_counted_and_ended(self):
        b = self.box
        run = b.run(batch([bash('setsid sleep 60 > /dev/null 2>&1 & echo $! > pid', id='a'),
                           bash('kill -0 $(cat pid) && echo lives; true', needs=['a'])]))
        self.match([{'state': 'succeeded', 'lingering': lambda n: n >= 1}, {'state': 'succeeded'}], run['ops'])
        self.assertFalse(alive(self.pids('pid')[0]))
        self.assertEqual(b.output(run['run'], 2, 'stdout'), b'', 'what waits for an op starts when its leftovers are gone')

    def test_a_lingering_child_that_ignores_term_is_killed_a_second_later(self):
        b = self.box
        run = b.run(batch([bash('trap "" TERM; (echo $BASHPID > pid; while :; do sleep .05; done) > /dev/null 2>&1 & '
                                'until test -s pid; do sleep .01; done')]))
        self.match([{'state': 'succeeded', 'lingering': lambda n: n >= 1}], run['ops'])
        self.assertFalse(alive(self.pids('pid')[0]))
        self.assertGreaterEqual(run['ops'][0]['duration_ms'], 0)

    def test_a_child_that_holds_the_pipe_does_not_keep_the_op_open(self):
        b = self.box
        begun = time.monotonic()
        run = b.run(batch([bash('sleep 60 & echo $! > pid; echo said')]))
        self.assertLess(time.monotonic() - begun, 10 * SLOW)
        self.match([{'state': 'succeeded', 'lingering': lambda n: n >= 1}], run['ops'])
        self.assertEqual(b.output(run['run'], 1), b'said\n')
        self.assertFalse(alive(self.pids('pid')[0]))

    def test_a_daemonising_child_is_ended(self):
        b = self.box
        # Twice forked, a session of its own, no pipe kept: the classic daemon.
        run = b.run(batch([bash("(setsid sh -c 'echo $$ > pid; exec sleep 60' < /dev/null > /dev/null 2>&1 &) ; "
                                'until test -s pid; do sleep .01; done')]))
        self.match([{'state': 'succeeded', 'lingering': lambda n: n >= 1}], run['ops'])
        self.assertFalse(alive(self.pids('pid')[0]))

    @rows(
        ('speaks to another batchd', 'BATCHD_SOCKET=/elsewhere'),
        ('has emptied its environment', '-i'),
        ('names another run', 'BATCHD_RUN=1'),
        ('names a run that is none', 'BATCHD_RUN=4000000'),
        ('names no attempt', '-u BATCHD_ATTEMPT'),
        ('says that it is a batchd of its own', 'BATCHD_RUN=0'),
    )
    def a_daemonising_child_is_ended_that(self, env):
        b = self.box
        other = b.submit(batch([bash('exec sleep 60')]))    # one of two ops that it may belong to
        daemon = "(setsid env %s /bin/sh -c 'echo $$ > %s; exec /bin/sleep 60' < /dev/null > /dev/null 2>&1 &); until test -s %s; do sleep .01; done"
        run = b.run(batch([bash(daemon % (env, 'pid', 'pid')), exec_('bash', '-c', daemon % (env, 'pid2', 'pid2'))]))
        self.match([{'state': 'succeeded', 'lingering': lambda n: n >= 1}] * 2, run['ops'])
        self.assertFalse(alive(self.pids('pid')[0]) or alive(self.pids('pid2')[0]))
        self.assertEqual(b.get(other)['state'], 'running')
        b.call('run.cancel', run=other)

    def test_detach_leaves_it(self):
        b = self.box
        run = b.run(batch([bash("setsid sh -c 'echo $$ > pid; exec sleep 60' < /dev/null > /dev/null 2>&1 & "
                                'until test -s pid; do sleep .01; done', detach=True)]))
        self.match([{'state': 'succeeded', 'lingering': lambda n: n >= 1}], run['ops'])
        pid, = self.pids('pid')
        self.assertTrue(alive(pid))
        os.kill(pid, signal.SIGKILL)

    def test_an_op_that_closes_its_output_runs_on(self):
        b = self.box
        run = b.run(batch([bash('echo before; exec > /dev/null 2>&1; sleep .3; touch after')]))
        self.match([{'state': 'succeeded', 'duration_ms': lambda ms: ms >= 300}], run['ops'])
        self.assertTrue(b.exists('after'))
        self.assertEqual(b.output(run['run'], 1), b'before\n')

    def test_a_stopped_op_is_ended_all_the_same(self):
        b = self.box
        run = b.submit(batch([bash('echo $$ > pid; kill -STOP $$')]))
        pid, = self.pids('pid')
        until(lambda: proc_stat(pid) and proc_stat(pid)[0] == 'T', 'the stop')
        b.call('run.cancel', run=run, grace='500ms')
        b.wait(run)
        self.match([{'state': 'cancelled'}], b.get(run)['ops'])
        self.assertFalse(alive(pid))

    def test_no_zombies_stay(self):
        b = self.box
        b.run(batch([bash('true & true & sleep .05')] * 5))
        spawner = b.spawner_pid()
        self.assertTrue(spawner)
        until(lambda: not os.popen('ps -o stat= --ppid %d' % spawner).read().split(), 'that the spawner has no child left', 3 * PATIENCE)     # a warm shell may stay a while

    def test_a_failed_op_with_sigpipe(self):
        run = self.box.run(batch([bash('yes | head -1'), bash('set -o pipefail; yes | head -1')]))
        self.match([{'state': 'succeeded'}, failed('exit', exit=141)], run['ops'])


@expand
class Bombs(Case):
    """A fork bomb op can be cancelled: the whole of it."""

    @rows(
        ('one that starts a session after the other', 'while :; do setsid sleep 100 & done', 100),
        ('one that doubles', 'f() { test $1 = 0 && exec sleep 100; f $(($1 - 1)) & f $(($1 - 1)) & wait; }; f 8', 256),
        ('whose members replace themselves', 'f() { for i in $(seq 30); do (while :; do (:); done) & done; wait; }; f', 30),
    )
    def a_bomb(self, command, n):
        b = self.box
        run = b.submit(batch([bash(command)]))
        spawner = b.spawner_pid()
        until(lambda: len(descendants(spawner)) >= n, 'the bomb')
        b.call('run.cancel', run=run, grace=0)
        b.wait(run)
        self.match({'state': 'cancelled', 'ops': [{'state': 'cancelled', 'cause': 'cancel'}]}, b.get(run))
        until(lambda: not [p for p in descendants(spawner) if alive(p)], 'the end of all of it')
        self.match({'state': 'succeeded'}, b.run(batch([bash('true')])))


class Nested(Case):
    """batchctl within an op."""

    def test_an_op_that_waits_for_a_run_lends_its_slots(self):
        run = self.box.run(batch([bash('batchctl run -g narrow -- echo inner')], group='narrow'))
        self.assertEqual(run['state'], 'succeeded', [self.box.output(run['run'], 1), run['ops']])
        self.assertEqual(self.box.output(run['run'], 1, 'stdout'), b'inner\n')

    def test_a_run_submitted_by_an_op_has_it_as_parent(self):
        b = self.box
        run = b.run(batch([bash('batchctl submit -w -e true > id')]))
        self.assertEqual(run['state'], 'succeeded', b.output(run['run'], 1))
        parent = b.get(int(b.text('id')))['parent']
        self.assertIn(str(run['run']), str(parent).split('.')[0])


class Daemons(Case):
    """A daemon that batchctl starts within an op is the user's: it does not end with the op."""

    def test_a_daemon_started_where_the_op_stopped_the_last_one(self):
        b = self.box
        run = b.submit(batch([bash('batchctl daemon stop && batchctl add -- "echo in a new daemon" > id')]))
        self.assertEqual(b.daemon.wait(PATIENCE), 0)
        b.daemon = None
        b.disconnect()
        until(b.answers, 'a new daemon')
        pid = b.daemon_pid()
        b.wait(run)
        self.match([{'state': 'succeeded', 'lingering': 0}], b.get(run)['ops'])
        inner = int(b.text('id'))
        b.wait(inner)
        self.assertEqual(b.output(inner, 1), b'in a new daemon\n')
        self.match({'state': 'succeeded'}, b.run(batch([bash('true')])))
        self.assertEqual(b.daemon_pid(), pid)

    def test_a_daemon_elsewhere(self):
        b = self.box
        there = b.path('there', 'socket')
        b.fifo('go')
        elsewhere = 'export BATCHD_SOCKET=%s XDG_STATE_HOME=%s; ' % (there, b.path('state'))

        def ends(command):
            self.match({'state': 'succeeded', 'ops': [{'lingering': 0}]}, b.run(batch([bash(elsewhere + command)])))

        ends('batchctl add -- "echo \\$\\$ > pid; read x < go" && batchctl add -- true')
        with Rpc(there) as other:
            pid = other.call('daemon.status')['pid']
            self.assertNotEqual(pid, b.daemon_pid())
            until(lambda: b.exists('pid') and b.text('pid'), 'the op over there')
        ends('batchctl daemon stop')    # leaves its spawner to ours
        self.assertTrue(alive(int(b.text('pid'))))
        ends('exec env -u BATCHD_RUN -u BATCHD_OP -u BATCHD_ATTEMPT batchctl status')    # it knows an op's process by its mark, too
        with Rpc(there) as other:
            self.assertNotEqual(other.call('daemon.status')['pid'], pid)
            b.put('go', 'go\n')
            for run in (1, 2):
                self.match({'state': 'succeeded', 'parent': None}, other.call('run.wait', run=run, timeout_ms=int(PATIENCE * 1000)))
            other.call('daemon.stop')


class DaemonsWithCgroups(Daemons):
    """The same where each op has a cgroup of its own."""
    daemon = False

    def setUp(self):
        tree = next((line.split()[1] for line in open('/proc/mounts') if line.split()[2] == 'cgroup2'), None)
        super().setUp()
        group = os.path.join(tree or '/nowhere', os.path.basename(self.box.dir))
        try:
            os.mkdir(group)
            self._cleanups.insert(0, (self.remove, (group,), {}))   # after the box's own
            os.setxattr(group, 'user.delegate', b'1')
        except OSError as e:
            self.skipTest('no cgroups to be had: %s' % e)
        self.box.start(under=['sh', '-c', 'echo $$ > "$0/cgroup.procs"; exec "$@"', group])
        run = self.box.run(batch([exec_('cat', '/proc/self/cgroup')]))
        self.assertRegex(self.box.output(run['run'], 1).decode(), r'/op-\d+\.\d+\n')

    @staticmethod
    def remove(group):
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)


if __name__ == '__main__':
    unittest.main()
