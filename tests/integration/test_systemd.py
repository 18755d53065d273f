"""Under a real systemd: the units as installed, socket activation, and no op ended by what happens to batchd."""
import os
import re
import signal
import time
import unittest

from harness import SLOW, Case, bash, batch, until
from systemd_world import Manager, why_not

SERVICE, SOCKET, SPAWNER = 'batchd.service', 'batchd.socket', 'batchd-spawner.service'
COUNT = 'echo $$ > pid; i=0; while [ ! -e go ]; do i=$((i+1)); echo $i; sleep .005; done; echo $i > count; exit %d'

reason = why_not()


@unittest.skipIf(reason, reason)
class Systemd(Case):
    daemon = False
    uid = None

    def setUp(self):
        super().setUp()
        self.m = Manager(self.box) if self.uid is None else Manager(self.box, self.uid)
        self.addCleanup(self.m.end)
        self.m.start()

    def _callTestMethod(self, method):
        try:
            super()._callTestMethod(method)
        except AssertionError as e:
            with open(self.m.log, errors='replace') as f:
                e.args = ('%s\n--- systemd\n%s' % (e.args[0] if e.args else '', f.read()[-6000:]),) + e.args[1:]
            raise

    # --- ops that run for as long as the test wants

    def begin(self, status=3, **keys):
        """Starts an op that prints numbers; returns its run and its pid."""
        run = int(self.m.ctl('submit', '-e', COUNT % status).stdout)
        until(lambda: self.box.exists('pid') and self.box.text('pid'), 'the start of the op')
        return run, int(self.box.text('pid'))

    def grows(self, run):
        """The output goes on growing, as the daemon that is there now tells it."""
        size = self.box.get(run)['ops'][0]['stdout_bytes']
        until(lambda: self.box.get(run)['ops'][0]['stdout_bytes'] > size, 'more output')

    def finish(self, run, pid, status=3):
        """Lets it end: all its output is there, and its exit status; it ran once."""
        self.assertTrue(self.m.alive(pid), 'the op was ended')
        self.box.put('go')
        self.m.ctl('wait', run, '--timeout', '60s', status=1)
        out = self.m.ctl('log', run).stdout
        last = int(self.box.text('count'))
        self.assertEqual(out, ''.join('%d\n' % (i + 1) for i in range(last)))
        self.box.disconnect()
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'exit', 'exit': status, 'pid': pid, 'attempts': 1}]},
                   self.box.get(run))
        for name in ('go', 'pid', 'count'):
            os.unlink(self.box.path(name))

    def by_hand(self, **env):
        """A batchd that batchctl has started without systemd; its pid."""
        self.m.ctl('daemon', 'start', env=env)
        self.assertNotEqual(self.m.state(SERVICE), 'active')
        return int(re.search(r'(?m)^pid +(\d+)$', self.m.ctl('daemon', 'status', env=env).stdout)[1])


class Units(Systemd):
    def test_install_and_enable(self):
        m = self.m
        self.assertIn('systemctl --user enable --now batchd.service', m.said)
        folder = m.program('lib/systemd/user')
        self.assertEqual(sorted(os.listdir(folder)), [SPAWNER, SERVICE, SOCKET])
        for unit in (SERVICE, SPAWNER):
            with open(os.path.join(folder, unit)) as f:
                program = re.search(r'(?m)^ExecStart=(\S+)', f.read())[1]
            self.assertTrue(os.access(m.root + program, os.X_OK), program)
        verified = m.run('systemd-analyze', '--user', '--man=no', 'verify', SERVICE, SOCKET, SPAWNER, status=0)
        self.assertEqual(verified.stdout + verified.stderr, '')
        m.systemctl('enable', '--now', SERVICE)
        self.assertEqual([m.state(u) for u in (SERVICE, SOCKET, SPAWNER)], ['active'] * 3)
        self.assertEqual([m.systemctl('is-enabled', u) for u in (SERVICE, SOCKET)], ['enabled'] * 2)
        self.assertEqual(m.show(SERVICE, 'Type'), 'notify')
        self.assertEqual(m.ctl('run', '--', 'echo', 'hello').stdout, 'hello\n')

    def test_the_socket_is_its_owners(self):
        m, b = self.m, self.box
        m.systemctl('start', SOCKET)
        self.assertEqual(os.stat(os.path.dirname(b.socket)).st_mode & 0o7777, 0o700)
        self.assertEqual(os.stat(b.socket).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(b.socket).st_uid, m.uid)

    def test_a_folder_that_is_open_to_others_is_closed(self):
        m, b = self.m, self.box
        m.run('mkdir', '-m', '755', os.path.dirname(b.socket), status=0)
        m.systemctl('start', SOCKET)
        m.ctl('run', '--', 'true')
        self.assertEqual(os.stat(os.path.dirname(b.socket)).st_mode & 0o7777, 0o700)

    def test_ops_know_nothing_of_the_service_manager(self):
        m = self.m
        m.systemctl('start', SOCKET)
        run = self.box.submit(batch([bash('env')]), env_base=None)
        self.box.wait(run)
        names = {line.split(b'=')[0] for line in self.box.output(run, 1).split(b'\n')}
        self.assertFalse(names & {b'NOTIFY_SOCKET', b'LISTEN_PID', b'LISTEN_FDS', b'LISTEN_FDNAMES'})
        self.assertIn(b'BATCHD_SOCKET', names)


class Activation(Systemd):
    def test_verbs_that_never_start_one_do_not_wake_it(self):
        m = self.m
        m.systemctl('start', SOCKET)
        for status, verb in ((125, ['wait', '1']), (125, ['cancel', '1']), (125, ['daemon', 'status']), (0, ['daemon', 'stop'])):
            m.ctl(*verb, status=status)
        m.ctl('todo', 'status', status=None)
        m.ctl('doctor', status=None)
        m.ctl('completions', 'bash', status=None)
        self.assertEqual(m.state(SERVICE), 'inactive')
        self.assertEqual(m.show(SERVICE, 'ExecMainStartTimestamp'), '')

    def test_the_first_connection_starts_it(self):
        m, b = self.m, self.box
        m.systemctl('start', SOCKET)
        self.assertEqual(m.state(SERVICE), 'inactive')
        m.ctl('add', '--', 'true')
        self.assertEqual([m.state(u) for u in (SERVICE, SPAWNER)], ['active'] * 2)
        b.call('daemon.status')
        self.match({'pid': m.pid(SERVICE), 'spawner_pid': m.pid(SPAWNER), 'socket': b.socket}, b.call('daemon.status'))
        m.ctl('wait', 'last')
        m.ctl('daemon', 'status')

    def test_twenty_at_once_meet_one(self):
        m, b = self.m, self.box
        m.systemctl('start', SOCKET)
        clients = [m.popen('batchctl', 'run', '--', 'sh', '-c', 'echo %d; exit %d' % (i, i)) for i in range(20)]
        for i, c in enumerate(clients):
            out, err = c.communicate(timeout=60 * SLOW)
            self.assertEqual((c.returncode, out, err), (i, '%d\n' % i, ''))
        self.assertEqual(m.show(SERVICE, 'NRestarts'), '0')
        with open(m.log, errors='replace') as f:
            self.assertEqual(len(re.findall('batchd .* listens at', f.read())), 1)
        self.assertEqual(len(b.call('run.list')['runs']), 20)

    def test_stopped_it_stays_until_somebody_connects(self):
        m, b = self.m, self.box
        m.systemctl('start', SOCKET)
        run, pid = self.begin()
        follower = m.popen('batchctl', 'wait', run)
        until(lambda: b.call('daemon.status')['connections'] > 1, 'the one who waits')
        b.disconnect()
        m.ctl('daemon', 'stop')
        until(lambda: m.state(SERVICE) == 'inactive', 'the end of batchd')
        self.assertTrue(os.path.exists(b.socket))
        # Who waits for it to come back says so, and does not wake it.
        line = follower.stderr.readline()
        self.assertIn('waiting for it to come back', line)
        self.assertEqual(m.state(SERVICE), 'inactive')
        m.ctl('status')
        self.assertEqual(m.state(SERVICE), 'active')
        self.finish(run, pid)
        self.assertEqual(follower.wait(60 * SLOW), 1)
        follower.communicate()

    def test_state_elsewhere_for_the_client(self):
        """The lock it looks at is not the daemon's: it is found by who listens."""
        m = self.m
        m.systemctl('start', SOCKET)
        elsewhere = {'XDG_STATE_HOME': os.path.join(self.box.dir, 'home', 'other')}
        m.ctl('wait', '1', status=125, env=elsewhere)
        self.assertEqual(m.state(SERVICE), 'inactive')
        run = m.ctl('add', '--', 'true', env=elsewhere).stdout.strip()
        m.ctl('wait', run, env=elsewhere)


class Ops(Systemd):
    """What happens to batchd ends no op."""

    def test_restart_stop_kill(self):
        m, b = self.m, self.box
        m.systemctl('enable', '--now', SERVICE)
        run, pid = self.begin()
        for what in (lambda: m.systemctl('restart', SERVICE),
                     lambda: (m.systemctl('stop', SERVICE), m.systemctl('start', SERVICE)),
                     lambda: m.kill(m.pid(SERVICE)),
                     lambda: m.kill(m.pid(SERVICE), signal.SIGSEGV),
                     lambda: (m.systemctl('stop', SOCKET), m.systemctl('start', SOCKET))):
            b.disconnect()
            before = m.pid(SERVICE)
            what()
            until(lambda: m.ctl('status', status=None).returncode == 0 and m.pid(SERVICE) not in (0, before), 'another batchd')
            self.grows(run)
        self.finish(run, pid)
        self.assertEqual(m.state(SPAWNER), 'active')

    def test_without_the_socket_batchctl_starts_one_and_the_socket_takes_over_again(self):
        m, b = self.m, self.box
        m.systemctl('enable', '--now', SERVICE)
        run, pid = self.begin()
        m.systemctl('stop', SOCKET)
        self.assertEqual(m.state(SERVICE), 'inactive')
        hand = self.by_hand()
        self.grows(run)
        b.disconnect()
        m.systemctl('start', SOCKET)
        m.ctl('status')
        self.assertEqual(m.state(SERVICE), 'active')
        self.assertFalse(m.alive(hand))
        self.finish(run, pid)

    def test_each_attempt_has_a_cgroup_and_cancel_ends_all_in_it(self):
        m, b = self.m, self.box
        m.systemctl('start', SOCKET)
        script = ('echo $$ > main; (setsid env -i sh -c "trap \'\' TERM; sh -c \\"echo \\\\\\$\\\\\\$ > deep; sleep 1000\\" & '
                  'echo \\$\\$ > shy; while :; do sleep .05; done" < /dev/null > /dev/null 2>&1 &); while :; do sleep .05; done')
        one = b.submit(batch([bash(script)]), env_base=m.env())
        two = b.submit(batch([bash('echo $$ > other; while :; do sleep .05; done')]), env_base=m.env())
        names = ('main', 'shy', 'deep', 'other')
        until(lambda: all(b.exists(n) and b.text(n) for n in names), 'all four')
        pids = {n: int(b.text(n)) for n in names}
        groups = {n: m.cgroup(pids[n]) for n in names}
        self.assertRegex(groups['main'], r'/%s/op-\d+\.\d+$' % re.escape(SPAWNER))
        self.assertEqual({groups['main']}, {groups[n] for n in names[:3]})
        self.assertNotEqual(groups['main'], groups['other'])
        b.call('run.cancel', run=one, grace=0.2)
        b.wait(one)
        self.assertEqual([n for n in names if m.alive(pids[n])], ['other'])
        b.call('run.cancel', run=two)
        b.wait(two)

    def test_a_killed_spawner_is_started_again_in_its_cgroup(self):
        m, b = self.m, self.box
        m.systemctl('start', SOCKET)
        run, pid = self.begin()
        spawner = m.pid(SPAWNER)
        m.kill(spawner)
        until(lambda: m.pid(SPAWNER) not in (0, spawner) and m.state(SPAWNER) == 'active', 'another spawner')
        self.assertEqual(m.show(SPAWNER, 'ExecMainStatus'), '0')        # 219 would be EXIT_CGROUP
        self.assertEqual(m.ctl('run', '--', 'echo', 'next').stdout, 'next\n')
        self.assertTrue(m.alive(pid))
        b.put('go')
        m.ctl('wait', run, status=1)
        self.match({'state': 'interrupted', 'ops': [{'state': 'interrupted', 'cause': 'lost', 'attempts': 1}]}, b.get(run))

    def test_it_goes_when_it_has_nothing_and_comes_when_needed(self):
        m = self.m
        m.systemctl('start', SOCKET)
        m.ctl('run', '--', 'true')
        refused = m.run('systemctl', '--user', 'stop', SPAWNER)
        self.assertNotEqual(refused.returncode, 0)
        self.assertEqual(m.state(SPAWNER), 'active')
        # Told to end under a batchd, which cannot start another: systemd starts both anew.
        m.kill(m.pid(SPAWNER), signal.SIGTERM)
        self.assertEqual(m.ctl('run', '--', 'echo', 'soon').stdout, 'soon\n')
        # Not needed, and told: it does not wait for its time to be up.
        m.ctl('daemon', 'stop')
        m.kill(m.pid(SPAWNER), signal.SIGTERM)
        until(lambda: m.state(SPAWNER) == 'inactive', 'the end of the spawner')
        self.assertEqual(m.ctl('run', '--', 'echo', 'again').stdout, 'again\n')
        self.assertEqual(m.state(SPAWNER), 'active')


class Root(Systemd):
    uid = 0
    test_each_attempt_has_a_cgroup_and_cancel_ends_all_in_it = Ops.test_each_attempt_has_a_cgroup_and_cancel_ends_all_in_it


class TakeOver(Systemd):
    """A batchd that was started without systemd makes room for the activated one."""

    def taken_over(self, hand, run, pid):
        """No op is lost, nothing runs twice; with the last op of the old spawner the unit's takes its place."""
        m, b = self.m, self.box
        b.disconnect()
        self.assertEqual(m.state(SERVICE), 'active')
        until(lambda: not m.alive(hand), 'the end of the batchd that was started by hand')
        self.match({'pid': m.pid(SERVICE)}, b.call('daemon.status'))
        old = b.call('daemon.status')['spawner_pid']
        self.assertNotEqual(old, m.pid(SPAWNER))
        self.grows(run)
        self.finish(run, pid)
        until(lambda: not m.alive(old), 'the end of the old spawner')
        self.assertEqual(m.ctl('run', '--', 'echo', 'next').stdout, 'next\n')
        self.assertEqual(b.call('daemon.status')['spawner_pid'], m.pid(SPAWNER))

    def test_enabled_under_a_running_one(self):
        hand = self.by_hand()
        run, pid = self.begin()
        self.m.systemctl('enable', '--now', SERVICE)
        self.taken_over(hand, run, pid)

    def test_activated_by_a_connection(self):
        m, b = self.m, self.box
        hand = self.by_hand()
        run, pid = self.begin()
        m.systemctl('start', SOCKET)
        self.assertTrue(m.alive(hand))      # nobody has asked for more yet
        m.ctl('status')
        self.taken_over(hand, run, pid)

    def test_from_another_socket(self):
        """Without a runtime folder it listened under /tmp: its ops are found all the same."""
        m, b = self.m, self.box
        b.socket, socket = os.path.join(b.dir, 'tmp', 'elsewhere', 'socket'), b.socket
        hand = self.by_hand(BATCHD_SOCKET=b.socket)
        run = int(m.ctl('submit', '-e', COUNT % 3, env={'BATCHD_SOCKET': b.socket}).stdout)
        until(lambda: b.exists('pid') and b.text('pid'), 'the start of the op')
        b.disconnect()
        b.socket = socket
        m.systemctl('enable', '--now', SERVICE)
        self.taken_over(hand, run, int(b.text('pid')))

    def test_while_nothing_runs(self):
        m, b = self.m, self.box
        hand = self.by_hand()
        m.ctl('run', '--', 'true')
        m.systemctl('enable', '--now', SERVICE)
        until(lambda: not m.alive(hand), 'the end of the batchd that was started by hand')
        self.assertEqual(m.ctl('run', '--', 'echo', 'next').stdout, 'next\n')
        self.assertEqual(b.call('daemon.status')['spawner_pid'], m.pid(SPAWNER))
        self.assertEqual(m.show(SERVICE, 'NRestarts'), '0')

    def test_by_hand_beside_the_units(self):
        m, b = self.m, self.box
        m.systemctl('start', SOCKET)
        refused = m.run('batchd', '--foreground', status=1)
        self.assertIn('batchctl daemon start', refused.stderr)
        self.assertEqual(m.state(SERVICE), 'inactive')
        m.ctl('daemon', 'start')
        pid = m.pid(SERVICE)
        again = m.run('batchd', '--foreground', status=0)
        self.assertIn('already running', again.stderr)
        other = os.path.join(b.dir, 'home', 'other')
        refused = m.run('batchd', '--foreground', '--state-dir', other, status=1)
        self.assertIn(b.socket, refused.stderr)
        self.assertEqual(m.pid(SERVICE), pid)
        m.ctl('status')


class Upgrade(Systemd):
    def test_both_programs_under_a_running_op(self):
        m, b = self.m, self.box
        m.systemctl('enable', '--now', SERVICE)
        run, pid = self.begin()
        spawner = m.pid(SPAWNER)
        for _ in range(2):
            m.replace('libexec/batchd/batchd-spawner')
            self.assertFalse(m.runs_program_of(spawner, 'libexec/batchd/batchd-spawner'))
            m.systemctl('reload', SPAWNER)
            until(lambda: m.runs_program_of(spawner, 'libexec/batchd/batchd-spawner'), 'the new program')
            until(lambda: m.state(SPAWNER) == 'active', 'its readiness')
            self.assertEqual(m.pid(SPAWNER), spawner)
            self.grows(run)
            b.disconnect()
            m.replace('bin/batchd')
            m.systemctl('restart', SERVICE)
            self.assertTrue(m.runs_program_of(m.pid(SERVICE), 'bin/batchd'))
            self.grows(run)
        # batchd's own reload sees to both: the file, and a spawner that was replaced.
        m.replace('libexec/batchd/batchd-spawner')
        m.systemctl('reload', SERVICE)
        until(lambda: m.runs_program_of(spawner, 'libexec/batchd/batchd-spawner'), 'the new program')
        # Cgroups are as they were: what is started now has one, and what ran before can be told from it.
        self.assertRegex(m.cgroup(pid), r'/op-\d+\.\d+$')
        self.assertEqual(m.ctl('run', '--', 'sh', '-c', 'exit 7', status=7).stdout, '')
        self.assertEqual(b.call('daemon.status')['spawner_pid'], spawner)
        self.finish(run, pid)

    def test_cancel_after_it_ends_the_whole_group(self):
        m, b = self.m, self.box
        m.systemctl('start', SOCKET)
        run = b.submit(batch([bash('(setsid env -i sh -c "trap \'\' TERM; echo \\$\\$ > shy; while :; do sleep .05; done" < /dev/null '
                                   '> /dev/null 2>&1 &); while :; do sleep .05; done')]), env_base=m.env())
        until(lambda: b.exists('shy') and b.text('shy'), 'its child')
        spawner = m.pid(SPAWNER)
        m.replace('libexec/batchd/batchd-spawner')
        m.systemctl('reload', SPAWNER)
        until(lambda: m.runs_program_of(spawner, 'libexec/batchd/batchd-spawner'), 'the new program')
        b.call('run.cancel', run=run, grace=0.2)
        b.wait(run)
        self.match({'state': 'cancelled'}, b.get(run))
        self.assertFalse(m.alive(int(b.text('shy'))))


class Session(Systemd):
    """Without lingering, all of a user's services end at the last logout."""

    def log_out(self):
        m, b = self.m, self.box
        begun = time.monotonic()
        self.run_id = b.submit(batch([bash('echo ran >> ran; trap "touch told; exit 5" TERM; while :; do sleep .05; done')],
                                     [bash('touch next')]), env_base=m.env())
        until(lambda: b.exists('ran'), 'the start of the op')
        b.disconnect()
        m.log_out()
        self.assertTrue(b.exists('told'))
        return time.monotonic() - begun

    def test_ops_are_asked_to_end_and_what_they_said_is_known(self):
        m, b = self.m, self.box
        m.systemctl('enable', '--now', SERVICE)
        self.log_out()
        m.start()
        b.wait(self.run_id)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'exit', 'exit': 5, 'attempts': 1}, {'state': 'skipped'}]},
                   b.get(self.run_id))
        self.assertEqual(b.text('ran'), 'ran\n')

    def test_where_the_runtime_folder_goes_too_they_are_interrupted(self):
        m, b = self.m, self.box
        m.systemctl('enable', '--now', SERVICE)
        self.log_out()
        m.run_dir_swept = [os.unlink(os.path.join(d, f)) for d, _, files in os.walk(b.runtime, topdown=False) for f in files]
        m.start()
        b.wait(self.run_id)
        self.match({'state': 'interrupted', 'ops': [{'state': 'interrupted', 'cause': 'lost'}, {'state': 'skipped'}]},
                   b.get(self.run_id))
        self.assertEqual(b.text('ran'), 'ran\n')
