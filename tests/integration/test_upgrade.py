"""Contract section 1 over a change of programs or places: the spawner is upgraded under running ops, and the ops of a state folder are
found again wherever its next batchd listens."""
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import unittest

from harness import (BATCHCTL, BATCHD, BUILD, LONG, NO_LEAKS, SPAWNER, Case, Closed, Rpc, alive, bash, batch, command_line, exec_, expand, proc_stat,
                     rows, strace_works, until)


class OldStore(Case):
    """Databases of earlier schemas, one a released schema (the first one's todo lists: test_contract_todos.py)."""
    daemon = False

    def test_schema_2(self):
        """Before it was kept how long, and with which names of an environment."""
        b = self.box
        b.put_store('schema-2.sql')
        b.start()
        self.match({'name': 'first', 'state': 'succeeded', 'ops': [
            {'id': 'a', 'text': 'echo one', 'state': 'succeeded', 'stdout_bytes': 4}, {'id': 'bad', 'state': 'failed', 'exit': 3}]}, b.get(1))
        self.match([{'id': 'a', 'content': 'one'}], b.call('todo.list', list='l')['todos'])
        self.match([{'rev': 3, 'restored': 1}], b.call('todo.history', list='l')['events'][-1:])
        self.assertEqual(b.call('todo.restore', list='l', rev=2)['rev'], 4)
        again = b.call('run.restart', run=1)['run']
        b.wait(again)
        self.match({'state': 'succeeded', 'origin': 1}, b.get(again))
        self.assertTrue(os.path.exists(os.path.join(b.state, 'batchd.db.v2')))

    def test_schema_3(self):
        """Before ops kept their description and meta."""
        b = self.box
        b.put_store('schema-3.sql')
        b.start()
        self.match({'name': 'first', 'key': 'k1', 'state': 'succeeded', 'ops': [
            {'kind': 'todos', 'state': 'succeeded'}, {'text': 'echo one', 'todo': 'a', 'meta': None, 'description': None},
            {'id': 'bad', 'state': 'failed', 'exit': 3, 'attempts': 2}, {'kind': 'read', 'state': 'succeeded', 'stdout_bytes': 3}]}, b.get(1))
        self.match([{'id': 'a', 'status': 'completed'}, {'id': 'b', 'blocked_by': ['a']}, {'content': 'more'}],
                   b.call('todo.list', list='l')['todos'])
        self.assertIn(('pool', 3), [(g['group'], g['slots']) for g in b.call('group.list')['groups']])
        again = b.call('run.restart', run=1)['run']
        b.wait(again)
        self.match({'origin': 1, 'ops': [{}, {'description': 'says one', 'meta': {'x': 1}}, {}, {}]}, b.get(again))
        self.assertTrue(os.path.exists(os.path.join(b.state, 'batchd.db.v3')))

    def test_schema_4(self):
        """Before it was noted by which command an op is found in history."""
        b = self.box
        b.put_store('schema-4.sql')
        b.start()
        self.match({'name': 'first', 'state': 'succeeded', 'eta_ms': None, 'ops': [
            {'kind': 'todos'}, {'text': 'sleep 1; echo one', 'duration_ms': lambda ms: ms >= 1000, 'meta': {'x': 1}}, {'id': 'bad', 'state': 'failed'}]}, b.get(1))
        again = b.call('run.restart', run=1)['run']
        b.wait(again)
        self.match({'state': 'succeeded', 'origin': 1, 'ops': [{}, {'state': 'succeeded'}, {'state': 'failed'}]}, b.get(again))
        self.assertTrue(os.path.exists(os.path.join(b.state, 'batchd.db.v4')))

    def test_schema_5(self):
        """Before the checksum of an environment was kept: a held run's is used as it is."""
        b = self.box
        b.put_store('schema-5.sql')
        os.mkdir(b.state + '/runs', 0o700)
        with open(b.state + '/runs/2.env', 'wb') as f:
            f.write(b'KEEP=safe\0PATH=/usr/bin:/bin\0')
        b.start()
        b.call('run.resume', run=2)
        b.wait(2)
        self.match({'name': 'held', 'state': 'succeeded'}, b.get(2))
        self.assertEqual(b.output(2, 1), b'safe\n')
        self.assertTrue(os.path.exists(os.path.join(b.state, 'batchd.db.v5')))

    def test_a_store_of_a_newer_batchd_is_refused_and_left_alone(self):
        b = self.box
        b.put_store('schema-3.sql')
        path = os.path.join(b.state, 'batchd.db')
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute('PRAGMA user_version = 999')
        with open(path, 'rb') as f:
            before = f.read()
        done = b.ctl('status', check=125, bare=True)
        self.assertIn('schema 999', done.errors)
        with open(path, 'rb') as f:
            self.assertEqual(f.read(), before)


@unittest.skipUnless(strace_works(), 'strace is not installed, or may not trace here')
@expand
class Killed(Case):
    """At any step of it; the next start has it done, and the copy of what was before is whole."""
    daemon = False

    @rows(*[('as it enters %s' % call, call) for call in ('pwrite64', 'fdatasync', 'unlink')])
    def while_it_upgrades(self, call):
        b, n, rounds = self.box, 1, 0
        os.makedirs(os.path.dirname(b.socket), 0o700)
        while True:
            shutil.rmtree(b.state, ignore_errors=True)
            b.put_store('schema-3.sql')
            with open(b.log, 'w') as log, subprocess.Popen(
                    ['strace', '-qq', '-f', '-o', '/dev/null', '-e', 'trace=' + call, '-e', 'inject=%s:signal=KILL:when=%d' % (call, n),
                     BATCHD, '--foreground', '--socket', b.socket, '--state-dir', b.state],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=b.env(**NO_LEAKS), cwd=b.dir) as p:
                until(lambda: p.poll() is not None or os.path.exists(b.socket), 'its end, or that it listens')
                if os.path.exists(b.socket):
                    with contextlib.suppress(OSError, Closed), Rpc(b.socket) as r:
                        r.call('daemon.stop')
                    break
            b.start()
            self.match({'name': 'first', 'key': 'k1', 'state': 'succeeded', 'ops': [{}, {'text': 'echo one', 'meta': None}, {'exit': 3}, {}]}, b.get(1))
            self.assertEqual(b.call('todo.list', list='l')['rev'], 4)
            with contextlib.closing(sqlite3.connect(b.state + '/batchd.db.v3')) as db:
                self.assertEqual(db.execute('PRAGMA integrity_check').fetchall() + db.execute('PRAGMA user_version').fetchall(), [('ok',), (3,)])
            b.stop_quietly()
            self.assertFalse(os.path.exists(b.socket))
            n, rounds = n + 1 if LONG else 2 * n + 1, rounds + 1
        self.assertGreater(rounds, 1, 'it never enters it')


class Moved(Case):
    """The next batchd of a state folder serves another socket."""

    def move(self, name):
        b = self.box
        b.stop_quietly()
        b.socket = os.path.join(b.runtime, name, 'socket')
        b.start()

    def test_running_ops_are_adopted(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo began >> began; echo before; read x < gate; echo after; exit 3')], [bash('echo not')]))
        until(lambda: b.exists('began'), 'the start of the op')
        pid = b.get(run)['ops'][0]['pid']
        self.move('elsewhere')
        self.match({'state': 'running', 'ops': [{'state': 'running', 'pid': pid}, {}]}, b.get(run))
        other = b.submit(batch([bash('echo other')]))
        b.wait(other)
        self.move('somewhere')
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'exit', 'exit': 3, 'attempts': 1}, {'state': 'skipped'}]}, b.get(run))
        self.assertEqual(b.output(run, 1), b'before\nafter\n')
        self.assertEqual(b.text('began'), 'began\n')
        self.assertEqual(b.output(other, 1), b'other\n')

    def test_in_the_end_the_spawner_moves_too(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate')]))
        until(lambda: b.exists('began'), 'the start of the op')
        first = b.spawner_pid()
        self.move('elsewhere')
        self.assertEqual(b.call('daemon.status')['spawner_pid'], first)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        until(lambda: not alive(first), 'the end of the spawner that has nothing left')
        self.match({'state': 'succeeded'}, b.run(batch([bash('true')])))
        self.assertTrue(os.path.exists(b.socket + '.spawner'))
        self.assertFalse(os.path.exists(os.path.join(b.runtime, 'batchd', 'socket.spawner')))

    def test_what_ran_while_nobody_listened_is_told(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo done; exit 9')]))
        until(lambda: b.exists('began'), 'the start of the op')
        pid = b.get(run)['ops'][0]['pid']
        b.kill_daemon()
        with open(gate, 'w') as f:
            f.write('\n')
        until(lambda: not alive(pid), 'the end of the op')
        self.move('elsewhere')
        b.wait(run)
        self.match({'ops': [{'state': 'failed', 'exit': 9, 'attempts': 1}]}, b.get(run))
        self.assertEqual(b.output(run, 1), b'done\n')


class Copied(Case):
    """A copy of a state folder is another state folder."""

    def test_it_leaves_the_ops_of_the_original_alone(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo ran >> ran; read x < gate; exit 3')]))
        until(lambda: b.exists('ran'), 'the start of the op')
        copy = os.path.join(b.dir, 'home', 'copy')
        shutil.copytree(b.state, copy)
        other = os.path.join(b.runtime, 'other', 'socket')
        daemon = subprocess.Popen([BATCHD, '--foreground', '--socket', other, '--state-dir', copy], env=b.env(), cwd=b.dir,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: os.path.exists(other), 'the daemon of the copy')
        with Rpc(other) as r:
            self.match({'state': 'interrupted'}, r.call('run.wait', run=run, timeout_ms=20000))
            r.call('daemon.stop')
        self.assertEqual(daemon.wait(20), 0)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'failed', 'ops': [{'exit': 3, 'attempts': 1}]}, b.get(run))
        self.assertEqual(b.text('ran'), 'ran\n')

    def test_its_ops_have_the_same_numbers_and_are_others(self):
        # Those of a spawner that was killed are looked for among all processes.
        b = self.box
        run = b.submit(batch([bash('echo $$ > pid.$(basename "$BATCHD_SOCKET"); exec sleep 300')]), held=True)
        b.stop_quietly()
        there, b.state = b.state, os.path.join(b.dir, 'home', 'copy')
        shutil.copytree(there, b.state)
        daemon = subprocess.Popen([BATCHD, '--foreground', '--socket', b.socket + '2', '--state-dir', there], env=b.env(), cwd=b.dir,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.terminate)
        until(lambda: os.path.exists(b.socket + '2'), 'the daemon of the original')
        b.start()
        with Rpc(b.socket + '2') as r:
            r.call('run.resume', run=run)
            b.call('run.resume', run=run)
            pid, original = (int(until(lambda name=name: b.exists(name) and b.text(name), 'its op')) for name in ('pid.socket', 'pid.socket2'))
            spawner = b.call('daemon.status')['spawner_pid']
            os.kill(spawner, signal.SIGKILL)
            until(lambda: b.call('daemon.status')['spawner_pid'] not in (None, spawner), 'another spawner')
            b.call('run.cancel', run=run)
            b.wait(run)
            self.assertFalse(alive(pid))
            self.assertTrue(alive(original))
            r.call('run.cancel', run=run)
            r.call('run.wait', run=run)


class Replaced(Case):
    """New programs are installed over those that run, without systemd."""
    daemon = False

    def setUp(self):
        super().setUp()
        self.bin = os.path.join(self.box.dir, 'bin')
        os.mkdir(self.bin)
        for program in (BATCHD, BATCHCTL, SPAWNER):
            shutil.copy2(program, self.bin)

    def ctl(self, *args, **keys):
        return self.box.ctl(*args, env={'PATH': self.bin + ':/usr/bin:/bin'}, program=os.path.join(self.bin, 'batchctl'), **keys)

    def replace(self, name):
        path = os.path.join(self.bin, name)
        shutil.copy2(path, path + '.new')
        os.rename(path + '.new', path)

    def is_old(self, pid):
        return os.readlink('/proc/%d/exe' % pid).endswith(' (deleted)')

    def test_reload_and_stop_upgrade_both_under_a_running_op(self):
        b = self.box
        run = int(self.ctl('submit', '-e', 'i=0; while [ ! -e go ]; do i=$((i+1)); echo $i; sleep .005; done; echo $i > count; exit 3',
                           check=0).text)
        until(lambda: b.get(run)['ops'][0]['stdout_bytes'] > 0, 'output')
        daemon, spawner, pid = b.call('daemon.status')['pid'], b.spawner_pid(), b.get(run)['ops'][0]['pid']
        for _ in range(2):
            for name in ('batchd', 'batchctl', 'batchd-spawner'):
                self.replace(name)
            self.assertTrue(self.is_old(spawner) and self.is_old(daemon))
            self.ctl('daemon', 'reload', check=0)
            until(lambda: not self.is_old(spawner), 'the new program of the spawner')
            b.disconnect()
            self.ctl('daemon', 'stop', check=0)
            until(lambda: not alive(daemon), 'the end of the old batchd')
            self.ctl('daemon', 'start', check=0)
            daemon = b.call('daemon.status')['pid']
            self.assertFalse(self.is_old(daemon))
            self.assertEqual(b.call('daemon.status')['spawner_pid'], spawner)
            size = b.get(run)['ops'][0]['stdout_bytes']
            until(lambda: b.get(run)['ops'][0]['stdout_bytes'] > size, 'more output')
        b.put('go')
        b.wait(run)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'exit', 'exit': 3, 'pid': pid, 'attempts': 1}]}, b.get(run))
        self.assertEqual(b.output(run, 1), b''.join(b'%d\n' % (i + 1) for i in range(int(b.text('count')))))

    def test_a_reload_with_nothing_new_leaves_the_spawner_as_it_is(self):
        b = self.box
        self.ctl('daemon', 'start', check=0)
        begun = proc_stat(b.spawner_pid())
        self.ctl('daemon', 'reload', check=0)
        self.assertEqual(b.spawner_pid() and proc_stat(b.spawner_pid())[2], begun[2])
        self.assertNotIn(b'--handover', command_line(b.spawner_pid()))


class OtherSpawner(Case):
    """One of another build serves the socket when batchd comes."""
    daemon = False

    def begin(self, build):
        b, program = self.box, os.path.join(BUILD, 'tests', 'unit', 'batchd-spawner-' + build)
        if not os.path.exists(program):
            self.skipTest('the spawners of tests/unit are not built')
        os.makedirs(os.path.dirname(b.socket), 0o700)
        with open(b.log, 'ab') as log:
            spawner = subprocess.Popen([program, '--socket', b.socket + '.spawner'], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                       env=b.env(**NO_LEAKS), cwd=b.dir)
        self.addCleanup(spawner.wait)
        self.addCleanup(spawner.kill)
        until(lambda: os.path.exists(b.socket + '.spawner'), 'the spawner')
        b.start()
        return spawner

    def test_an_older_one_of_the_same_protocol(self):
        b = self.box
        spawner = self.begin('plain')
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo a; echo b >&2; touch began; read x < gate; echo c; exit 7'), bash('exec sleep 60', timeout=.2),
                              bash("(setsid sleep 60 > /dev/null 2>&1 &); cat", stdin='in'), exec_('/nowhere')]))
        until(lambda: b.exists('began'), 'the op')
        stopped = b.submit(batch([bash('exec sleep 60')]))
        until(lambda: b.get(stopped)['ops'][0]['state'] == 'running', 'the other op')
        b.restart()
        self.assertEqual(b.call('daemon.status')['spawner_pid'], spawner.pid)
        b.call('run.cancel', run=stopped)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match([{'exit': 7, 'attempts': 1}, {'cause': 'timeout'}, {'state': 'succeeded', 'lingering': 1}, {'cause': 'start'}], b.get(run)['ops'])
        self.assertEqual([b.output(run, 1, s) for s in ('stdout', 'stderr')] + [b.output(run, 3)], [b'a\nc\n', b'b\n', b'in'])
        self.assertEqual(b.wait(stopped)['state'], 'cancelled')
        self.assertEqual(b.call('daemon.status')['spawner_pid'], spawner.pid)

    def test_one_of_another_protocol(self):
        # It has nothing to do, and ends soon: until then batchd says what is in its way.
        b = self.box
        with self.assertRaisesRegex(AssertionError, 'before it listened'):
            self.begin('other')
        b.daemon = None
        with open(b.log) as f:
            self.assertRegex(f.read(), r"(?m)^batchd: the spawner at '.*' refuses: .*speaks protocol 2, not 1: `kill -HUP \d+` replaces it")
        until(lambda: b.ctl('add', '-w', 'echo ran', bare=True).status == 0, 'that it goes on')
        self.match({'state': 'succeeded'}, b.wait(1))


class Swept(Case):
    """The runtime folder has been removed, as happens at the last logout, and with it all that the spawner knew."""

    def test_an_op_that_may_have_run_is_not_run_again(self):
        b = self.box
        run = b.submit(batch([bash('echo began >> began; exec sleep 300')], [bash('touch next')]))
        until(lambda: b.exists('began'), 'the start of the op')
        op, spawner = b.get(run)['ops'][0]['pid'], b.spawner_pid()
        b.kill_daemon()
        for pid in (spawner, op):
            os.kill(pid, signal.SIGKILL)
            until(lambda: not alive(pid), 'the end of all')
        shutil.rmtree(os.path.dirname(b.socket))
        b.start()
        b.wait(run)
        self.match({'state': 'interrupted', 'ops': [{'state': 'interrupted', 'cause': 'lost'}, {'state': 'skipped'}]}, b.get(run))
        self.assertEqual(b.text('began'), 'began\n')
