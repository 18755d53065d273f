"""
Promise: when the disk is full, the database locked, read-only or damaged, descriptors, memory or processes run out, the clock jumps
or somebody removes our files, then new work is refused with that reason or accepted for good; what runs ends normally, and its
result is kept and stored when the trouble is over. No crash, no spinning.

Each row puts one fault on real programs while an op runs and others wait. The faults are made in faults.py; steps of SQLite one by
one are in tests/unit/test_store_fault.c, power cuts in test_powercut.py, kills in test_kill.py.
"""
import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import struct
import subprocess
import time

from faults import Clock, Inject, Memory, SmallDisk, faketime_library, no_inject, no_memory, ordinary, quiet_share
from harness import BATCHCTL, BATCHD, LONG, PATIENCE, Case, Closed, Rpc, RpcError, alive, bash, batch, expand, message, rows, todos, until, write

LOUD = .25      # of a CPU: who takes more in a quiet stretch spins


class Scene(Case):
    """An op at work that waits for a word, ops after it, a run after its run; and a daemon that a fault is put on."""
    daemon = False

    def begin(self, *args, **start):
        b = self.box
        if not b.daemon:
            b.start(*args, **start)
        b.call('todo.write', list='l', todos=[{'id': 'it', 'content': 'It'}])
        self.gate = b.fifo('gate')
        self.first = b.submit(batch([bash('echo before; touch began; read x < gate; seq 10000; echo after >&2; exit 3', ok_exits=[3],
                                          todo='it')],
                                    [bash('echo next >> ran; echo next')]), list='l', key='first')
        self.second = b.submit(batch([bash('echo second >> ran')]), needs_runs=[self.first], key='second')
        until(lambda: b.exists('began'), 'the op')
        self.pid = b.get(self.first)['ops'][0]['pid']
        self.taken = {}     # key: run, acknowledged meanwhile

    def try_submit(self, key):
        """Accepted (remembered), or the refusal's text."""
        try:
            self.taken[key] = self.box.submit(batch([bash('echo %s >> ran; echo out %s' % (key, key))]), key=key)
            return None
        except RpcError as e:
            self.assertIn(e.symbol, ('E_STORAGE', 'E_MEMORY', 'E_BUSY'), e.text)
            self.assertIs(e.caller, False, e.text)
            return e.text

    def let_go(self):
        """The op that runs gets its word, and ends."""
        with open(self.gate, 'w') as f:
            f.write('\n')
        until(lambda: not alive(self.pid), 'the end of the op')

    def quiet(self):
        self.assertLess(quiet_share(self.box.daemon_pid()), LOUD, 'batchd is busy with nothing to do')

    def all_well(self, restart=True):
        """The trouble is over: everything comes to its end by itself, and is still there for the next batchd."""
        b = self.box
        for key in ('later', *self.taken):      # also what was accepted is answered with the same run
            self.assertIsNone(self.try_submit(key))
        for n in range(1 + restart):
            for run in (self.first, self.second, *self.taken.values()):
                b.wait(run)
                self.assertEqual(b.call('run.get', run=run, ops='none')['state'], 'succeeded')
            self.match([{'state': 'succeeded', 'exit': 3, 'attempts': 1, 'pid': self.pid}, {'attempts': 1}], b.get(self.first)['ops'])
            self.assertEqual(b.output(self.first, 1, 'stdout'), b'before\n' + b''.join(b'%d\n' % i for i in range(1, 10001)))
            self.assertEqual(b.output(self.first, 1, 'stderr'), b'after\n')
            self.assertEqual(b.output(self.first, 2), b'next\n')
            for key, run in self.taken.items():
                self.assertEqual(b.output(run, 1), b'out %s\n' % key.encode())
            self.assertEqual(sorted(b.text('ran').split()), sorted(['next', 'second', *self.taken]), 'each ran once')
            until(lambda: b.call('todo.list', list='l')['todos'][0]['status'] == 'completed', 'the todo')
            if n < restart:
                self.assertIsNone(b.daemon.poll(), 'it lives')
                self.start_again()

    def start_again(self):
        self.box.restart()


# --- the disk --------------------------------------------------------------------------------------------------------

@expand
class Disk(Scene):
    """The state folder, or the folder of the socket and the spawner's table, is a small disk of its own."""

    def small(self, path, size):
        self.disk = SmallDisk(path, size)
        self.addCleanup(self.disk.close)
        self.addCleanup(self.box.done)      # before that: who runs on it keeps it
        if self.disk.why_not:
            self.skipTest(self.disk.why_not)

    def start_again(self):
        self.box.kill_daemon()
        self.box.start(under=self.disk.under)

    def test_a_full_state_folder(self):
        b = self.box
        self.small(b.state, '2m')
        self.begin(under=self.disk.under)
        self.disk.fill()
        said = self.try_submit('meanwhile')
        self.assertRegex(said, "^E_STORAGE: .*(full|No space left).*%s.*make room" % b.state)
        self.refused('E_STORAGE', 'todo.update', {'list': 'l', 'id': 'it', 'priority': 'high'}, 'make room')
        self.let_go()
        self.match({'state': 'running'}, b.call('run.get', run=self.first))
        self.quiet()
        self.disk.free()
        self.all_well()

    def test_acting_on_runs_while_it_is_full(self):
        # Nobody is kept waiting for room: what acts does so at once, and says that it is not stored.
        b = self.box
        self.small(b.state, '2m')
        self.begin(under=self.disk.under)
        self.disk.fill()
        full = r'%s; that is not stored yet, and will be when it can: .*(full|No space left).*make room'
        for method, says in (('run.pause', 'starts nothing more'), ('run.resume', 'goes on'),
                             ('run.cancel', 'is being ended all the same')):
            e = self.refused('E_STORAGE', method, {'run': self.first})
            self.assertRegex(e.text, 'run %d ' % self.first + full % says)
        until(lambda: not alive(self.pid), 'the end of the op')
        self.refused('E_STORAGE', 'run.cancel', {'run': self.first})
        for method in ('run.restart', 'run.forget'):
            with contextlib.suppress(RpcError):     # E_STORAGE or, where batchd does not know of its end yet, E_STATE: but an answer
                self.fail(b.call(method, run=self.first))
        p = b.ctl('cancel', self.second, check=1)
        self.assertRegex(p.errors, r'^batchctl cancel: run %d ' % self.second + full % 'is being ended all the same' + r'.*\(E_STORAGE\): see `batchctl doctor`\n$')
        self.assertEqual(p.text, '')
        self.quiet()
        self.disk.free()
        for run in (self.first, self.second):
            self.assertEqual(b.wait(run)['state'], 'cancelled')
        self.start_again()
        for run in (self.first, self.second):
            self.assertEqual(b.call('run.get', run=run)['state'], 'cancelled')
        self.assertFalse(b.exists('ran'))

    def test_the_output_of_an_op_fills_it(self):
        # The op waits: nothing of what it prints is lost, and nothing fails for it.
        b = self.box
        self.small(b.state, '2m')
        self.begin(under=self.disk.under)
        loud = b.submit(batch([bash('head -c 3000000 /dev/zero | tr "\\0" x; echo end')]), output_cap=0)
        until(lambda: b'cannot write output' in open(b.log, 'rb').read(), 'a word in the log')
        self.quiet()
        self.assertIn('room', self.try_submit('meanwhile') or 'room')
        self.let_go()
        # More room than there was: as a disk that is freed.
        subprocess.run([*self.disk.under, 'mount', '-o', 'remount,size=16m', b.state], check=True)
        b.wait(loud)
        self.assertEqual(b.get(loud)['ops'][0]['stdout_bytes'], 3000004)
        data = b.output(loud, 1)
        self.assertTrue(data == b'x' * 3000000 + b'end\n', len(data))
        self.all_well()

    def test_a_full_runtime_folder(self):
        # The table of the spawner has its room from the start: full or not, it goes on.
        b = self.box
        folder = os.path.dirname(b.socket)
        self.small(folder, '8m')
        self.disk.fill()
        with self.assertRaisesRegex(AssertionError, 'before it listened'):
            self.begin(under=self.disk.under)
        with open(b.log) as f:
            self.assertRegex(f.read(), "batchd: .*'%s.*No space left" % folder)
        b.daemon = None
        self.disk.free()
        b.socket, there = self.disk.inside('socket'), b.socket
        b.start('--socket', there, under=self.disk.under)
        self.disk.fill()
        self.begin()
        self.assertIsNone(self.try_submit('meanwhile'))
        self.let_go()
        self.all_well(restart=False)


    def test_a_full_runtime_folder_and_a_spawner_that_has_to_be_started_again(self):
        # What ran ends with its result; new ops wait, with a word about it, or start: then all goes on.
        b = self.box
        self.small(os.path.dirname(b.socket), '8m')
        b.socket, there = self.disk.inside('socket'), b.socket
        b.start('--socket', there, under=self.disk.under)
        self.begin()
        self.disk.fill()
        spawner = b.spawner_pid()
        os.kill(spawner, signal.SIGKILL)
        until(lambda: not alive(spawner), 'the end of the spawner')
        self.assertIsNone(self.try_submit('meanwhile'))
        self.let_go()

        def told_or_done():
            return [t for t in b.call('daemon.status')['troubles'] if 'No space left' in t] or \
                b.call('run.get', run=self.taken['meanwhile'], ops='none')['state'] == 'succeeded'
        until(told_or_done, 'a word about it, or that it goes on')
        self.quiet()
        self.disk.free()
        self.all_well(restart=False)


# --- system calls that fail ------------------------------------------------------------------------------------------

@expand
class Calls(Scene):
    def setUp(self):
        if no_inject():
            self.skipTest(no_inject())
        super().setUp()

    def inject(self, pid, *what):
        fault = Inject(pid, *what)
        self.addCleanup(fault.stop)
        return fault

    @rows(
        ('no byte reaches the disk: it has become read-only', 'pwrite64:error=EROFS', 'read-only file system.*mount'),
        ('no byte reaches the disk: the quota is used up', 'pwrite64:error=EDQUOT', 'quota.*make room'),
        ('no sync succeeds', 'fdatasync:error=EIO', 'input/output error.*system\'s log'),
        ('no file can be opened', 'openat:error=EMFILE', 'too many open files.*raise'),
        ('no file can be cut', 'ftruncate:error=EIO', None),
    )
    def for_a_while(self, what, says):
        self.begin()
        fault = self.inject(self.box.daemon_pid(), what)
        said = self.try_submit('meanwhile')
        if says:
            self.assertRegex((said or 'it was accepted').lower(), says)
            self.assertIn(self.box.state, said)
        self.let_go()
        self.quiet()
        fault.stop()
        self.all_well()

    @rows(*[(what, what) for what in ('pwrite64:error=ENOSPC', 'pwrite64:error=EIO', 'fdatasync:error=EIO', 'fsync:error=EIO',
                                      'splice:error=EIO', 'splice:error=ENOSPC')])
    def once(self, what):
        # The Kth call fails; whatever hears of it, each submit is refused or kept, and each op ends with its output.
        self.begin()
        hits = 0
        for k in (1, 2, 3, 5, 8) if LONG else (1, 3):
            fault = self.inject(self.box.daemon_pid(), '%s:when=%d' % (what, k))
            for i in range(2):
                self.try_submit('%d-%d' % (k, i))
            for run in self.taken.values():
                self.box.wait(run)
            hits += fault.hits()
            fault.stop()
        self.assertGreater(hits, 0, 'it was never met')
        self.let_go()
        self.all_well()

    def test_a_client_that_cannot_be_watched_is_closed(self):
        self.begin()
        fault = self.inject(self.box.daemon_pid(), 'epoll_ctl:error=ENOMEM:when=1')
        with Rpc(self.box.socket) as r, self.assertRaises((Closed, OSError)):
            r.call('daemon.status')
        self.assertGreater(fault.hits(), 0, 'it was never met')
        fault.stop()
        self.let_go()
        self.all_well()

    def test_a_wake_up_that_fails_once_is_tried_again(self):
        self.begin()
        hits = 0
        for k in range(1, 6):
            fault = self.inject(self.box.daemon_pid(), 'write:error=EIO:when=%d' % k)
            self.try_submit('wake-%d' % k)
            for run in self.taken.values():
                self.box.wait(run)
            hits += fault.hits()
            fault.stop()
        self.assertGreater(hits, 0, 'it was never met')
        self.let_go()
        self.all_well()

    def test_a_log_whose_sync_has_failed_is_written_anew(self):
        # A kernel says once that it could not write; the next fdatasync says that all is well.
        b = self.box
        self.begin()
        gate = b.fifo('other-gate')
        run = b.submit(batch([bash('echo some; touch other; read x < other-gate')]))
        until(lambda: b.exists('other') and b.get(run)['ops'][0]['pid'] and b.output(run, 1), 'the other op')
        b.call('todo.write', list='m', todos=[])    # answered when all before it is stored
        fault = Inject(b.daemon_pid(), 'fdatasync:error=EIO:when=1', also=['pwrite64'])
        self.addCleanup(fault.stop)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.let_go()
        of_log = [call for call in fault.seen() if '/runs/%d.log>' % run in call]
        bad = next(i for i, call in enumerate(of_log) if '(INJECTED)' in call)
        then = [call.split('(')[0].split()[-1] for call in of_log[bad + 1:]]
        self.assertEqual(then[0], 'pwrite64', of_log)
        self.assertIn('fdatasync', then)
        fault.stop()
        self.all_well()


# --- processes and descriptors that cannot be had --------------------------------------------------------------------

FORKS = ('clone', 'clone3', 'vfork', 'fork')


@expand
class Starts(Scene):
    def trouble(self, word):
        """What daemon.status says that holds things up."""
        return [t for t in self.box.call('daemon.status')['troubles'] if word in t]

    def held_up(self, fault_off, trouble='cannot be started'):
        """Ops that are ready stay so, none of their attempts is used up; then they go on."""
        b = self.box
        self.assertIsNone(self.try_submit('meanwhile'))
        self.let_go()
        until(lambda: self.trouble(trouble), 'a word about it')
        until(lambda: b.get(self.first)['ops'][0]['state'] == 'succeeded', 'the result of what ran')
        self.match([{'state': 'succeeded'}, {'state': lambda s: s in ('ready', 'running')}], b.get(self.first)['ops'])
        def between_tries():
            ops = b.get(self.taken['meanwhile'])['ops']
            return ops if ops[0]['state'] == 'ready' and ops[0]['attempts'] == 0 else None     # else one is just being asked for
        self.match([{'state': 'ready', 'attempts': 0, 'cause': None}], until(between_tries, 'the try to be over'))
        self.quiet()
        self.assertLess(quiet_share(b.call('daemon.status')['spawner_pid'], .2), LOUD)
        fault_off()
        self.all_well()
        self.assertEqual(self.trouble(''), [])

    def test_no_process_for_a_while(self):
        if no_inject():
            self.skipTest(no_inject())
        self.begin()
        fault = Inject(self.box.call('daemon.status')['spawner_pid'], *['%s:error=EAGAIN' % f for f in FORKS])
        self.addCleanup(fault.stop)
        self.held_up(fault.stop)

    @rows(('the first', 1), ('the third', 3))
    def one_process_refused(self, nth):
        if no_inject():
            self.skipTest(no_inject())
        self.begin()
        fault = Inject(self.box.call('daemon.status')['spawner_pid'], *['%s:error=EAGAIN:when=%d' % (f, nth) for f in FORKS])
        self.addCleanup(fault.stop)
        run = self.box.submit(batch([bash('echo %d >> ones' % i) for i in range(6)]))
        self.box.wait(run)
        self.match([{'state': 'succeeded', 'attempts': 1}] * 6, self.box.get(run)['ops'])
        self.assertEqual(sorted(self.box.text('ones').split()), list('012345'))
        self.assertGreater(fault.hits(), 0)
        fault.stop()
        self.let_go()
        self.all_well(restart=False)

    def test_a_spawner_that_is_stopped(self):
        b = self.box
        self.begin()
        pid = b.spawner_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            self.assertIsNone(self.try_submit('meanwhile'))
            until(lambda: b.call('daemon.status')['troubles'], 'a word of it')
            self.assertRegex(b.call('daemon.status')['troubles'][0], r'the spawner \(pid %d\) does not answer.*kill -CONT %d' % (pid, pid))
            self.assertRegex(b.ctl('doctor', check=1).text, r'(?s)problem +daemon +the spawner\s+\(pid %d\)\s+does\s+not\s+answer' % pid)
            self.quiet()
        finally:
            os.kill(pid, signal.SIGCONT)
        until(lambda: not b.call('daemon.status')['troubles'], 'its end')
        self.let_go()
        self.all_well()

    def test_the_users_processes_are_used_up(self):
        b = self.box
        under, why_not = ordinary(b)
        if os.getuid() != 0 or why_not:
            self.skipTest(why_not or 'only root can be somebody else')
        self.begin(under=under)
        spawner = b.call('daemon.status')['spawner_pid']
        self.start_again = lambda: (b.kill_daemon(), b.start(under=under))

        def limit(n):
            subprocess.run([*under, 'prlimit', '--pid=%d' % spawner, '--nproc=%s:' % n], check=True)
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        max_processes = 'unlimited' if hard == resource.RLIM_INFINITY else hard
        limit(1)
        self.held_up(lambda: limit(max_processes))

    def test_no_descriptors(self):
        # More clients than there are descriptors: who came first is served, who came last waits, ops are started all the same.
        b = self.box
        self.begin(under=['prlimit', '--nofile=160:160'])
        crowd = []
        for _ in range(300):
            s = socket.socket(socket.AF_UNIX)
            s.connect(b.socket)
            crowd.append(s)
        self.assertIsNone(self.try_submit('meanwhile'))
        b.wait(self.taken['meanwhile'])
        self.quiet()
        self.assertTrue(self.trouble('connections'), 'it says that connections wait')
        for s in crowd:
            s.close()
        with b.connect() as r:
            until(lambda: r.call('daemon.status')['troubles'] == [], 'room')
        self.let_go()
        self.all_well(restart=False)

    def test_too_few_descriptors_to_begin_with(self):
        b = self.box
        few = ['prlimit', '--nofile=63:63']
        said = r"only 63 files may be open at a time \(RLIMIT_NOFILE\), and batchd needs 64 at least: .*`ulimit -Hn`.*"
        p = subprocess.run([*few, BATCHD, '--foreground', '--socket', b.socket], env=b.env(), capture_output=True, text=True)
        self.assertRegex(p.stderr, '^batchd: %s\n$' % said)
        self.assertEqual((p.returncode, p.stdout), (1, ''))
        p = subprocess.run([*few, BATCHCTL, 'daemon', 'start'], env=b.env(BATCHD_SOCKET=b.socket), capture_output=True, text=True)
        self.assertRegex(p.stderr, '^batchctl daemon start: .*%s\n$' % said)
        self.assertNotEqual(p.returncode, 0)
        self.begin(under=['prlimit', '--nofile=64:64'])     # as few as that do
        self.assertIsNone(self.try_submit('meanwhile'))
        self.let_go()
        self.all_well()

    def test_descriptors_taken_away(self):
        # Below what is open already: pipes of new ops cannot be received, nor files opened.
        b = self.box
        self.begin()
        pid = b.daemon_pid()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        s.connect(b.socket)
        said = self.try_submit('meanwhile')
        self.assertRegex(said or 'it was accepted', 'Too many open files.*raise')
        self.let_go()
        self.quiet()
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        self.all_well()


# --- memory ----------------------------------------------------------------------------------------------------------

class OutOfMemory(Scene):
    def setUp(self):
        if no_memory():
            self.skipTest(no_memory())
        super().setUp()
        self.memory = Memory(self.box.dir)

    def large(self, r):
        """A large batch on a connection of its own: accepted, refused with E_MEMORY, or that connection is closed."""
        try:
            with r:
                run = r.call('batch.submit', batch=dict(batch([write('large', b'x' * 500000)]), cwd=self.box.work))['run']
            return run
        except RpcError as e:
            self.assertIn(e.symbol, ('E_MEMORY', 'E_STORAGE'), e.text)
            return e.symbol
        except (Closed, BrokenPipeError, ConnectionResetError):
            return 'closed'

    def test_none_for_what_is_large(self):
        b = self.box
        self.begin(**self.memory.env)
        for size in (1 << 18, 1 << 16):
            self.memory.arm(size)
            self.assertIn(self.large(b.connect()), ('E_MEMORY', 'closed'))
            self.assertGreater(self.memory.failed(), 0)
            self.assertIsNone(self.try_submit('small-%d' % size))
            b.wait(self.taken['small-%d' % size])
            self.quiet()
        self.let_go()
        self.memory.disarm()
        self.assertIsInstance(self.large(b.connect()), int)
        self.all_well()

    def test_none_for_one_large_thing(self):
        b = self.box
        self.begin(**self.memory.env)
        n = 1
        while True:
            self.memory.arm(1 << 16, nth=n, once=True)
            failed = self.memory.failed()
            got = self.large(b.connect())
            if self.memory.failed() == failed:
                break
            self.assertIsNone(b.daemon.poll(), 'it lives (%r at %d)' % (got, n))
            n += 1
        self.memory.disarm()
        self.assertGreater(n, 2)
        self.let_go()
        self.all_well()

    def test_none_for_one_small_thing(self):
        # Of a client that comes and asks: answered, closed, or batchd has said why it ended.
        b, ends = self.box, 0
        b.start(**self.memory.env)
        for n in range(1, 25 if LONG else 13):
            self.memory.arm(1, nth=n, once=True)
            with contextlib.suppress(RpcError, OSError, Closed, TimeoutError):
                b.connect().call('batch.submit', batch=dict(batch([bash('true')]), cwd=b.work), timeout=10)
            until(lambda: self.memory.failed() or b.daemon.poll() is not None, 'the allocation')
            self.memory.disarm()
            with contextlib.suppress(subprocess.TimeoutExpired):
                b.daemon.wait(.2)
            if b.daemon.poll() is not None:
                ends += 1
                with open(b.log) as f:
                    self.assertEqual((b.daemon.returncode, f.read().count('batchd: out of memory')), (1, ends), 'at %d' % n)
                b.disconnect()
                b.start(**self.memory.env)
        self.assertGreater(ends, 0)

    def test_none_at_all_for_a_moment(self):
        # Then it may abort: what was acknowledged is there for the next one, and the ops have not noticed.
        b = self.box
        self.begin(**self.memory.env)
        died = 0
        for n in (1, 2, 3, 5, 8, 13, 21, 34, 55, 89) if LONG else (1, 4, 20):
            self.memory.arm(1, nth=n)
            with contextlib.suppress(OSError, Closed, TimeoutError):
                self.try_submit('n%d' % n)
            self.memory.disarm()
            with contextlib.suppress(subprocess.TimeoutExpired):
                b.daemon.wait(.5)
            if b.daemon.poll() is not None:
                died += 1
                b.disconnect()
                b.start(**self.memory.env)
        self.assertGreater(died, 0)
        self.let_go()
        self.all_well()


class ClientOutOfMemory(Case):
    """batchctl says what a batch is, whole, or that it has no memory: never a batch with something left out."""
    daemon = False

    def test_each_allocation_of_a_reader(self):
        if no_memory():
            self.skipTest(no_memory())
        b, memory = self.box, Memory(self.box.dir)
        b.put('a.batch', 'const C = "abc"\n[A]:\n  Bash("echo a", { todo: "t" })\n  Write("x/y", C)\n'
                         '  TodoWrite { todos: [{ id: "t", content: "c" }] }\n')
        b.put('a.json', '{"cwd": "/tmp", "messages": [{"ops": [{"kind": "bash", "command": "true", "env": {"A": "b"}}]}]}')
        for argv in (('parse', 'a.json'), ('fmt', 'a.batch')):
            whole, n, ended = b.ctl(*argv, check=0).out, 1, 0
            while True:
                memory.arm(1, nth=n, once=True)
                got = b.ctl(*argv, env=memory.env)
                if not memory.failed():
                    break
                if got.status == 0:
                    self.assertEqual(got.out, whole, '%r at %d' % (argv, n))
                else:
                    ended += 1
                    self.assertIn(got.status, (1, 2), '%r at %d: %r' % (argv, n, got.err))
                    self.assertIn(b'memory', got.err, '%r at %d' % (argv, n))
                n += 1
            self.assertGreater(ended, 9)


# --- others and the database -----------------------------------------------------------------------------------------

class Others(Scene):
    def test_a_lock_of_another_program(self):
        b = self.box
        self.begin()
        db = sqlite3.connect(b.state + '/batchd.db', isolation_level=None)
        self.addCleanup(db.close)
        db.execute('BEGIN IMMEDIATE')
        self.assertRegex(self.try_submit('meanwhile'), 'E_STORAGE: .*database is locked.*batchd.db.*another program holds it')
        self.match({'state': 'running'}, b.call('run.get', run=self.first))     # and it blocks nobody who only reads
        self.let_go()
        self.quiet()
        db.execute('ROLLBACK')
        self.all_well()

    def test_it_is_moved_away(self):
        # Writes would go to a file that nobody finds again.
        b = self.box
        self.begin()
        os.rename(b.state, b.state + '.away')
        said = self.try_submit('meanwhile')
        self.assertRegex(said or 'it was accepted', 'E_STORAGE: .*batchd.db.* (removed|moved|replaced)')
        self.let_go()
        self.quiet()
        os.rename(b.state + '.away', b.state)
        self.all_well()

    def test_it_is_damaged_while_in_use(self):
        b = self.box
        self.begin()
        path = b.state + '/batchd.db'
        with open(path, 'r+b') as f:
            whole = f.read()
            f.seek(0)
            f.write(os.urandom(len(whole)))
        said = self.try_submit('meanwhile')     # its pages may be in memory, or in the log that is applied to them
        if said:
            self.assertRegex(said, 'E_STORAGE: .*(malformed|not a database).*copy')
        self.let_go()
        self.quiet()
        b.kill_daemon()
        with open(path, 'r+b') as f:
            f.write(whole)
        b.start()
        self.all_well()


@expand
class SocketFile(Scene):
    """Somebody tidies up the folder of the socket under a batchd that runs."""

    def there_again(self):
        until(lambda: os.path.exists(self.box.socket), 'its socket')
        pid = self.box.daemon_pid()
        p = self.box.ctl('--json', 'daemon', 'status', check=0)
        self.assertEqual(p.json['pid'], pid)
        self.assertEqual(stat.S_IMODE(os.stat(self.box.socket).st_mode), 0o600)

    @rows(('removed', lambda path, folder: os.unlink(path)),
          ('moved away', lambda path, folder: os.rename(path, path + '.away')),
          ('moved away with its folder', lambda path, folder: os.rename(folder, folder + '.away')))
    def is_made_again(self, take):
        b = self.box
        self.begin()
        self.assertIsNone(self.try_submit('before'))
        for _ in range(2):
            take(b.socket, os.path.dirname(b.socket))
            self.there_again()
            if os.path.exists(os.path.dirname(b.socket) + '.away'):     # where the spawner's table is
                break
        b.call('daemon.status')         # who was connected is so still
        b.disconnect()
        self.quiet()
        self.let_go()
        self.all_well(restart=False)

    def test_one_that_hangs_is_named(self):
        b = self.box
        self.begin()
        pid = b.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            os.unlink(b.socket)
            said = b.ctl('cancel', self.first, check=125).errors
            self.assertRegex(said, r'batchd \(pid %d\) runs, but there is no .*socket.*`kill %d`, then `batchctl daemon start`' % (pid, pid))
            self.assertRegex(b.ctl('doctor', check=1).text, r'(?s)pid %d has the state folder, but there is no .*`kill %d`' % (pid, pid))
        finally:
            os.kill(pid, signal.SIGCONT)
        self.there_again()
        self.let_go()
        self.all_well()

    def test_one_that_does_not_answer_is_named(self):
        b = self.box
        self.begin()
        pid = b.daemon_pid()
        os.kill(pid, signal.SIGSTOP)
        try:
            p = b.ctl_start('cancel', self.first)
            said = p.stderr.readline().decode()
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertRegex(said, r"what listens at '.*socket' \(pid %d\) does not answer yet: .*stopped.*`batchctl doctor`" % pid)
        out, err = p.communicate()
        self.assertEqual((p.returncode, err), (0, b''), out)
        b.wait(self.first)

    def test_what_somebody_else_put_there_stays(self):
        b = self.box
        self.begin()
        with open(b.socket + '.new', 'w') as f:
            f.write('precious')
        os.rename(b.socket + '.new', b.socket)
        until(lambda: b'was removed, and nobody reaches' in open(b.log, 'rb').read(), 'a word in the log')
        self.assertEqual(open(b.socket).read(), 'precious')
        os.unlink(b.socket)
        self.there_again()
        self.let_go()
        self.all_well()


def rewrite(path, change):
    """The file's bytes go through `change`; for putting them back."""
    with open(path, 'r+b') as f:
        before = f.read()
        f.seek(0)
        f.write(change(before))
        f.truncate()
    return lambda: rewrite(path, lambda _: before)


def schema(path, version):
    with contextlib.closing(sqlite3.connect(path)) as db:
        before = db.execute('PRAGMA user_version').fetchone()[0]
        db.execute('PRAGMA user_version = %d' % version)
    return lambda: schema(path, before)


def without(what, again):
    """The database lacks one of its tables, indexes or columns."""
    def spoil(path):
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute(what)

        def back():
            with contextlib.closing(sqlite3.connect(path)) as db, db:
                db.execute(again)
        return back
    return spoil


def elsewhere(path):
    """A link of somebody's making stands in its place, to a file of ours that is not to be touched."""
    kept, victim = path + '.kept', os.path.join(os.path.dirname(os.path.dirname(path)), 'victim')
    os.rename(path, kept)
    with open(victim, 'w') as f:
        f.write('precious')
    os.symlink(victim, path)

    def back():
        with open(victim) as f:
            assert f.read() == 'precious', 'it was written through'
        os.unlink(path)
        os.rename(kept, path)
    return back


def given_away(path):
    os.chown(path, 12345, -1)
    return lambda: os.chown(path, os.getuid(), -1)


def open_to_all(path):
    os.chmod(path, 0o777)
    return lambda: os.chmod(path, 0o700)


@expand
class Refuses(Scene):
    """What batchd will not start with: it says why and what to do, touches nothing, and goes on when that is mended."""

    @rows(
        ('random bytes in the database', 'state', '/batchd.db', lambda p: rewrite(p, lambda b: b[:100] + os.urandom(len(b) - 100)),
         'malformed.*batchd.db.*damaged: stop batchd and restore it from a copy'),
        ('a database cut short', 'state', '/batchd.db', lambda p: rewrite(p, lambda b: b[:5000]), 'batchd.db.*damaged.*copy'),
        ('no database at all', 'state', '/batchd.db', lambda p: rewrite(p, lambda b: b'hello' * 1000), 'not a database.*batchd.db.*move it aside'),
        ('the schema of a newer batchd', 'state', '/batchd.db', lambda p: schema(p, 999), r'has schema 999, this batchd \([0-9.]+\) knows schemas up to \d+'),
        ('a table that is gone', 'state', '/batchd.db', without('ALTER TABLE claim RENAME TO kept', 'ALTER TABLE kept RENAME TO claim'),
         "batchd.db' is damaged .*table 'claim' is missing.*put back a copy"),
        ('a column that is gone', 'state', '/batchd.db',
         without('ALTER TABLE todo RENAME COLUMN tags TO kept', 'ALTER TABLE todo RENAME COLUMN kept TO tags'),
         "batchd.db' is damaged .*column 'tags' of table 'todo' is missing.*put back a copy"),
        ('an index that is gone', 'state', '/batchd.db',
         without('DROP INDEX run_project', 'CREATE INDEX run_project ON run(project, run)'),
         "batchd.db' is damaged .*index 'run_project' is missing.*put back a copy"),
        ('a link in the place of the lock', 'state', '/lock', elsewhere, "/lock': Too many levels"),
        ('a state folder of somebody else', 'state', '', given_away, 'belongs to uid 12345: name one of your own'),
        ('a state folder that all can write to', 'state', '', open_to_all, 'everyone can write to .*chmod'),
        ('a runtime folder of somebody else', 'runtime', '', given_away, 'belongs to uid 12345: name a socket in a folder of your own'),
        ('a runtime folder that is open to all', 'runtime', '', open_to_all, 'is open to others .*chmod 700'),
    )
    def to_start_with(self, which, name, spoil, says):
        b = self.box
        path = (b.state if which == 'state' else os.path.dirname(b.socket)) + name
        if spoil is given_away and os.getuid() != 0:
            self.skipTest('only root can give a folder away')
        self.begin()
        b.kill_daemon()
        db = b.state + '/batchd.db'
        with contextlib.closing(sqlite3.connect(db)) as d:      # all that is stored is in the one file
            d.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        mend = spoil(path)
        with open(db, 'rb') as f:
            before = f.read()
        for argv in ([BATCHD, '--foreground'], [BATCHCTL, 'status']):
            p = subprocess.run(argv, env=b.env(BATCHD_SOCKET=b.socket), cwd=b.work, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            self.assertIn(p.returncode, (1, 125), p)
            self.assertRegex(p.stderr, says)
        with open(db, 'rb') as f:
            self.assertTrue(f.read() == before, 'the database was written to')
        self.let_go()
        mend()
        b.start()
        self.all_well(restart=False)


def foreign(path):
    """Somebody else's, and closed to us."""
    before = os.lstat(path)
    os.chown(path, 12345, 12345)
    os.chmod(path, 0o700 if os.path.isdir(path) else 0o600)
    return lambda: os.chown(path, before.st_uid, before.st_gid)


def read_only(path):
    mode = os.stat(path).st_mode & 0o777
    os.chmod(path, 0o500 if os.path.isdir(path) else 0o400)
    return lambda: os.chmod(path, mode)


def instead(make):
    def spoil(path):
        os.rename(path, path + '.kept')
        make(path)
        of = os.stat(os.path.dirname(path))
        os.chown(path, of.st_uid, of.st_gid)

        def back():
            (os.rmdir if os.path.isdir(path) else os.unlink)(path)
            os.rename(path + '.kept', path)
        return back
    return spoil


a_folder, a_fifo, a_file = instead(os.mkdir), instead(os.mkfifo), instead(lambda path: open(path, 'w').close())
LOOK = 'look at its owner and mode, and what stands in its place'


@expand
class Ordinary(Scene):
    """Files of ours that an ordinary user may not use: batchd and `doctor` name the file, the reason and the mend."""

    def scene(self, name):
        b = self.box
        self.under, why_not = ordinary(b)
        if why_not:
            self.skipTest(why_not)
        self.begin(under=self.under)
        until(lambda: b.output(self.first, 1), 'its output, and so the files of it')
        b.kill_daemon()
        with contextlib.closing(sqlite3.connect(b.state + '/batchd.db')) as d:
            d.execute('PRAGMA wal_checkpoint(TRUNCATE)')
        for folder, _, files in os.walk(b.state):       # also what we have just made
            for f in files:
                os.chown(os.path.join(folder, f), os.stat(b.state).st_uid, os.stat(b.state).st_gid)
        runtime = os.path.dirname(b.socket)
        return {'socket': b.socket, 'runtime': runtime, 'state': b.state}.get(name, b.state + '/' + name)

    def program(self, *argv):
        return subprocess.run([*self.under, *argv], env=self.box.env(BATCHD_SOCKET=self.box.socket), cwd=self.box.work,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def doctor_names(self, path):
        said = self.program(BATCHCTL, '--json', 'doctor')
        found = [f for f in json.loads(said.stdout)['checks'] if f['state'] == 'problem' and path in f['text']]
        self.assertTrue(found, said.stdout)
        for f in found:
            self.assertTrue(f['mend'])

    def go_on(self, mend):
        mend()
        self.box.daemon = None
        self.box.start(under=self.under)
        self.let_go()
        self.all_well(restart=False)

    @rows(*[(sentence % what, path, how, says) for what, path in (('lock', 'lock'), ('database', 'batchd.db'), ('folder of runs', 'runs'))
            for sentence, how, says in (("somebody else's %s", foreign, 'Permission denied: ' + LOOK),
                                        ('a file in the place of the %s', a_file, None),
                                        ('a folder in the place of the %s', a_folder, 'Is a directory: ' + LOOK),
                                        ('a read-only %s', read_only, 'Permission denied: ' + LOOK))
            if not (path == 'runs' and how in (a_folder, read_only)) and not (path != 'runs' and how is a_file)],
          ("somebody else's write-ahead log", 'batchd.db-wal', foreign, 'unable to open database file.*' + LOOK),
          ('a file in the place of the socket', 'socket', a_file, 'Socket operation on non-socket: ' + LOOK),
          ('a folder in the place of the socket', 'socket', a_folder, 'Socket operation on non-socket: ' + LOOK),
          ('a link in the place of the socket', 'socket', elsewhere, '(Socket operation on non-socket|Permission denied): ' + LOOK),
          ("somebody else's runtime folder", 'runtime', foreign, 'belongs to uid 12345: name'),
          ('a read-only runtime folder', 'runtime', read_only, 'Permission denied: ' + LOOK),
          ("somebody else's state folder", 'state', foreign, 'belongs to uid 12345: name'))
    def refused(self, name, how, says):
        path = self.scene(name)
        if name == 'batchd.db-wal':
            open(path, 'a').close()
            os.chown(path, os.stat(self.box.state).st_uid, os.stat(self.box.state).st_gid)
        if how is foreign and os.getuid() != 0:
            self.skipTest('only root can give a file away')
        mend = how(path)
        for argv in ([BATCHD, '--foreground'], [BATCHCTL, 'status']):
            p = self.program(*argv)
            self.assertIn(p.returncode, (1, 125), p)
            self.assertIn(os.path.dirname(path) if name == 'batchd.db-wal' else path, p.stderr)
            unseen = argv[0] == BATCHCTL and name == 'runtime' and how is foreign     # who cannot look into it does not know why
            self.assertRegex(p.stderr, 'cannot connect to .*: Permission denied: ' + LOOK if unseen else says or 'Not a directory: ' + LOOK)
        self.doctor_names(path)
        self.go_on(mend)

    @rows(*[('%s %s' % (what, name), name, how) for name in ('1.log', '1.idx')
            for what, how in (("somebody else's", foreign), ('a link in the place of', elsewhere), ('a folder in the place of', a_folder), ('a fifo in the place of', a_fifo))])
    def of_a_run(self, name, how):
        # The op that runs waits with its output until that is mended; all else goes on.
        b = self.box
        path = self.scene('runs/' + name)
        if how is foreign and os.getuid() != 0:
            self.skipTest('only root can give a file away')
        mend = how(path)
        b.start(under=self.under)
        for _ in range(2):
            with self.assertRaisesRegex(RpcError, 'cannot read the output of op %d.1: ' % self.first):
                b.call('run.output', run=self.first, op=1)
        self.assertIsNone(self.try_submit('meanwhile'))
        b.wait(self.taken['meanwhile'])
        with open(self.gate, 'w') as f:
            f.write('\n')
        until(lambda: [t for t in b.call('daemon.status')['troubles'] if 'cannot write output of run %d' % self.first in t], 'a word about it')
        self.doctor_names(path)
        self.quiet()
        mend()
        until(lambda: not alive(self.pid), 'the end of the op')
        self.start_again = lambda: (b.kill_daemon(), b.start(under=self.under))
        self.all_well()

    def test_a_read_only_state_folder(self):
        # What is there can be written to: only files of new runs cannot be made.
        b = self.box
        path = self.scene('state')
        runs = path + '/runs'
        mend = read_only(runs)
        b.start(under=self.under)
        said = self.try_submit('meanwhile')
        self.assertRegex(said or 'it was accepted', "'%s': Permission denied: " % runs + LOOK)
        self.doctor_names(runs)
        self.let_go()
        self.quiet()
        mend()
        self.start_again = lambda: (b.kill_daemon(), b.start(under=self.under))
        self.all_well()


# --- files of a run that go ------------------------------------------------------------------------------------------

def removed(path):
    os.unlink(path)


def cut(path):
    os.truncate(path, os.path.getsize(path) // 2)


def emptied(path):
    os.truncate(path, 0)


@expand
class Logs(Scene):
    @rows(*[('its %s is %s while it %s' % (suffix, how.__name__, 'runs' if running else 'is looked at later'), suffix, how, running)
            for suffix in ('log', 'idx') for how in (removed, cut, emptied) for running in (True, False)])
    def of_a_run(self, suffix, how, running):
        # What is gone is said to be gone; the run's state, other runs and the daemon are as if nothing was.
        b = self.box
        b.start()
        gate = b.fifo('gate')
        run = b.submit(batch([bash('seq 1000; touch began; read x < gate; seq 1001 2000', id='a'), bash('echo other', id='b')]))
        whole = b''.join(b'%d\n' % i for i in range(1, 2001))
        path = '%s/runs/%d.%s' % (b.state, run, suffix)

        def go_on():
            with open(gate, 'w') as f:
                f.write('\n')
            b.wait(run)
        until(lambda: b.exists('began') and os.path.exists(path) and b.get(run)['ops'][1]['state'] == 'succeeded', 'output')
        if running:
            how(path)
            go_on()
        else:
            go_on()
            how(path)
        self.match({'state': 'succeeded', 'ops': [{'stdout_bytes': len(whole)}, {'stdout_bytes': 6}]}, b.get(run))
        for op, bytes_ in ((1, whole), (2, b'other\n')):
            for _ in range(2):
                try:
                    if b.call('run.output', run=run, op=op)['dropped'] > 0:
                        continue        # it says how many are missing
                    data = b.output(run, op)
                    self.assertTrue(data == bytes_, 'op %d: %d bytes, and no word that some are gone' % (op, len(data)))
                except RpcError as e:
                    self.assertIn(e.symbol, ('E_NOT_FOUND', 'E_STORAGE'), e.text)
                    self.assertRegex(e.text, 'output of (run|op) %d.*(no longer there|damaged)' % run)
        b.restart()
        self.match({'state': 'succeeded'}, b.run(batch([bash('echo again')])))
        self.match({'state': 'succeeded'}, b.get(run))


def scribbled(path):
    with open(path, 'r+b') as f:
        f.write(b'garbage' * 9)


@expand
class Runs(Case):
    """The folder of runs' files, and its files, in the hands of somebody."""
    daemon = False

    def stop(self):
        """In order: all that is stored is in the one file."""
        self.box.disconnect()
        self.box.daemon.terminate()
        self.assertEqual(self.box.daemon.wait(PATIENCE), 0)

    def test_the_folder_is_removed_under_a_daemon(self):
        # It is made again, and what is printed from then on is kept.
        b = self.box
        b.start()
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo late; exit 4', ok_exits=[4])]))
        until(lambda: b.exists('began'), 'the op')
        shutil.rmtree(b.state + '/runs')
        after = b.submit(batch([bash('echo new')]))
        b.wait(after)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertEqual(stat.S_IMODE(os.stat(b.state + '/runs').st_mode), 0o700)
        for _ in range(2):
            self.match({'state': 'succeeded'}, b.get(after))
            self.match({'state': 'succeeded', 'ops': [{'exit': 4}]}, b.get(run))
            self.assertEqual((b.output(run, 1), b.output(after, 1)), (b'late\n', b'new\n'))
            b.restart()

    def test_the_folder_is_removed_while_an_op_is_silent(self):
        # No submit comes between: the op's first byte makes it.
        b = self.box
        b.start()
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo late')]))
        until(lambda: b.exists('began'), 'the op')
        shutil.rmtree(b.state + '/runs')
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'succeeded'}, b.get(run))
        self.assertEqual(b.output(run, 1), b'late\n')

    @rows(('missing', os.unlink, 'is missing'), ('empty', lambda path: os.truncate(path, 0), 'is empty'))
    def a_database_that_is(self, spoil, says):
        # Not a first start: its numbers would be given out again.
        b = self.box
        b.start()
        b.run(batch([bash('echo one')]))
        held = b.submit(batch([bash('true')]), held=True)
        self.stop()
        db, kept = b.state + '/batchd.db', b.path('kept')
        shutil.copy(db, kept)
        spoil(db)
        p = subprocess.run([BATCHD, '--foreground'], env=b.env(BATCHD_SOCKET=b.socket), cwd=b.work, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL)
        self.assertEqual(p.returncode, 1, p)
        self.assertRegex(p.stderr, "batchd.db' %s, but '.*/runs' holds files of runs up to %d: put .* back from a copy, or move '.*' away"
                         % (says, held))
        self.assertEqual(sorted(n for n in os.listdir(b.state + '/runs')), ['1.idx', '1.log', '2.env'], 'nothing is touched')
        shutil.copy(kept, db)
        b.start()
        self.assertEqual(b.submit(batch([bash('true')])), held + 1)

    @rows(('cut', lambda path: os.truncate(path, 5)), ('scribbled over', scribbled),
          ('one byte longer', lambda path: os.truncate(path, os.path.getsize(path) + 1)))
    def an_environment_that_is(self, spoil):
        # No command runs with what is left of it.
        b = self.box
        b.start()
        env = {'PATH': '/usr/bin:/bin', 'KEEP': 'safe'}
        run, other = [b.submit(batch([bash('echo "$KEEP" >> ran'), write('made', 'x')]), env_base=env, held=True) for _ in range(2)]
        b.kill_daemon()
        spoil('%s/runs/%d.env' % (b.state, run))
        b.start()
        for r in (run, other):
            b.call('run.resume', run=r)
            b.wait(r)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'start', 'exit': None}, {'state': 'succeeded'}]}, b.get(run))
        self.assertRegex(b.get(run)['ops'][0]['error'], r"environment in '.*/runs/%d\.env' is damaged: submit it again" % run)
        self.match({'state': 'succeeded'}, b.get(other))
        self.assertEqual(b.text('ran'), 'safe\n')

    @rows(('scribbled over', 'idx', scribbled, r"damaged: '.*\.idx' is not as batchd writes it; put it back from a copy, or move"),
          ('cut', 'idx', cut, r"damaged: '.*\.idx' or its \.log was cut"),
          ('removed', 'idx', os.unlink, r"damaged: '.*\.idx' is missing"),
          ('cut', 'log', cut, 'damaged from byte 5 on'),
          ('removed', 'log', os.unlink, r"damaged: '.*\.log' is missing"))
    def its_output(self, suffix, spoil, says):
        b = self.box
        b.start()
        run = b.run(batch([bash('echo 123456789')]))['run']
        b.restart()
        spoil('%s/runs/%d.%s' % (b.state, run, suffix))
        with self.assertRaisesRegex(RpcError, says):
            b.output(run, 1)

    def test_a_write_that_was_cut_off(self):
        # A write that is not done again says what is known of it.
        b = self.box
        b.start()
        run = b.submit(batch([write('kept', 'x' * 10, append=True, mode='600')]), held=True)
        b.kill_daemon()
        with contextlib.closing(sqlite3.connect(b.state + '/batchd.db', isolation_level=None)) as db:     # it was claimed
            db.execute('UPDATE run SET state = 1, started = created WHERE run = ?', (run,))
            db.execute('INSERT OR REPLACE INTO claim VALUES(?, ?)', (run, struct.pack('=I', 1)))
        b.start()
        b.wait(run)
        self.match({'state': 'interrupted', 'ops': [{'state': 'interrupted', 'cause': 'lost'}]}, b.get(run))
        self.assertRegex(b.get(run)['ops'][0]['error'], "batchd ended while it may have been under way: look whether '%s' has its content"
                         % b.path('kept'))
        b.restart()
        self.assertIn('look whether', b.get(run)['ops'][0]['error'])


# --- the clock -------------------------------------------------------------------------------------------------------

@expand
class Jumps(Case):
    daemon = False

    def started(self):
        if not faketime_library():
            self.skipTest('libfaketime is not installed, or the sanitizers are in its way')
        clock = Clock(self.box.dir)
        self.box.start(**clock.env)
        return self.box, clock

    @rows(('forty days ahead', '+40d'), ('forty days back', '-40d'))
    def of_the_clock(self, by):
        b, clock = self.started()
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo done', timeout='1h'), todos({'id': 'x', 'content': 'X'})]), timeout='1h')
        until(lambda: b.exists('began'), 'the op')
        clock.jump(by)
        short = b.submit(batch([bash('exec sleep 60', timeout='300ms')], message(todos({'id': 'y', 'content': 'Y'}, mode='merge'),
                                                                                 write('f', 'x'), always=True)))
        b.wait(short)
        self.match({'state': 'failed', 'ops': [{'cause': 'timeout'}, {'state': 'succeeded'}, {'state': 'succeeded'}]}, b.get(short))
        self.match({'state': 'running'}, b.get(run))
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'succeeded'}, b.get(run))
        for r in (run, short):
            got = b.get(r)
            spans = [got['summary'][k] for k in ('wall_ms', 'serial_ms', 'critical_ms')] + [op['duration_ms'] for op in got['ops']]
            for ms in spans:
                self.assertTrue(0 <= ms < 3600000, (spans, got))
        b.kill_daemon()
        b.start(**clock.env)
        self.match({'state': 'succeeded'}, b.get(run))
        self.match({'state': 'succeeded'}, b.run(batch([bash('true')])))


    @rows(*[('%s, %s' % (by, what), by, keys) for by in ('+40d', '-40d')
            for what, keys in (('an op', dict(op={'timeout': '1h'})), ('a message', dict(message={'timeout': '1h'})), ('a run', dict(timeout='1h')))])
    def of_the_clock_and_a_restart(self, by, keys):
        # How long what goes on has run is told by a clock that nobody sets.
        b, clock = self.started()
        gate = b.fifo('gate')
        op = bash('touch began; read x < gate; echo done', **keys.get('op', {}))
        run = b.submit(batch(message(op, **keys.get('message', {}))), **{k: v for k, v in keys.items() if k == 'timeout'})
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['pid'], 'the op')
        b.kill_daemon()
        clock.jump(by)
        b.start(**clock.env)
        self.assertIsNone(b.run(batch([bash('true')]))['ops'][0]['cause'])
        self.match({'state': 'running', 'ops': [{'state': 'running'}]}, b.get(run))
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'succeeded', 'ops': [{'state': 'succeeded', 'attempts': 1}]}, b.get(run))

    @rows(('forty days ahead', '+40d'), ('forty days back', '-40d'))
    def of_the_clock_for_what_waits(self, by):
        # A delay between tries is a time of its own; a time of day is what the clock says.
        b, clock = self.started()
        tried = b.submit(batch([bash('echo x >> tries; test $(wc -l < tries) = 2', retries=1, retry_delay='400ms')]))
        until(lambda: b.exists('tries'), 'the first try')
        later = b.submit(batch([bash('true')]), not_before=int(time.time() * 1000) + 3600000)
        until(lambda: b.get(tried)['ops'][0]['state'] != 'running', 'the end of the first try')
        clock.jump(by)
        b.wait(tried)
        self.match({'state': 'succeeded', 'ops': [{'attempts': 2}]}, b.get(tried))
        b.kill_daemon()
        b.start(**clock.env)
        if by[0] == '+':
            b.wait(later)
        else:
            self.match({'state': 'queued'}, b.get(later))


del Scene
