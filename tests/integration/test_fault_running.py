"""
Promise: a fault that comes over a batchd at work and stays for a while: new work is refused with the reason, what runs ends, and when
it goes all goes on by itself: nothing waits for a restart, and what was answered is stored.

The faults are system calls that fail from the Nth on (strace, put on and taken off); the scene they are put on is in fault_scene.py.
"""
import os
import re
import resource
import signal
import subprocess

from fault_scene import Scene
from faults import Inject, no_inject
from harness import (BATCHD, LONG, NO_LEAKS, PATIENCE, Case, Rpc, RpcError, alive, bash, batch, command_line, descendants, exec_, expand,
                     proc_stat, read, rows, until)


class Running(Scene):
    def setUp(self):
        if no_inject():
            self.skipTest(no_inject())
        super().setUp()

    def inject(self, *what):
        fault = Inject(self.box.daemon_pid(), *what)
        self.addCleanup(fault.stop)
        return fault

    def look(self):
        """What is stored is shown, or why it cannot be."""
        try:
            self.box.call('run.list')
        except RpcError as e:
            self.assertEqual((e.symbol, e.caller), ('E_STORAGE', False), e.text)

    def troubles(self):
        return self.box.call('daemon.status')['troubles']

    def through(self, *what):
        """The scene comes to its end under the fault and after it; what was said to submits meanwhile."""
        self.begin()
        fault = self.inject(*what)
        said = []
        for i in range(4):
            said.append(self.try_submit('meanwhile-%d' % i))
            self.look()
        self.let_go()
        until(lambda: self.box.get(self.first)['ops'][0]['state'] == 'succeeded' or self.troubles(), 'the result, or a word about it')
        said.append(self.try_submit('after-it'))
        self.quiet()
        self.assertGreater(fault.hits(), 0, 'it was never met')
        fault.stop()
        self.all_well()
        self.assertEqual(self.troubles(), [])
        return [text for text in said if text]


@expand
class Locks(Running):
    @rows(*[('%s fails' % which, when) for which, when in (
        ('every one', ''), ('the first', ':when=1'), ('the second', ':when=2'), ('the fourth', ':when=4'), ('from the second on', ':when=2+'),
        ('from the third on', ':when=3+'), ('from the sixth on', ':when=6+'), ('every second', ':when=1+2'), ('every third', ':when=1+3'))])
    def of_the_database(self, when):
        # SQLite takes a lock that it cannot let go of for gone, and then waits for it.
        for text in self.through('fcntl:error=EIO' + when):
            self.assertRegex(text, "Input/output error.*batchd.db.*see the system's log")

    def test_there_are_no_more(self):
        self.assertRegex('\n'.join(self.through('fcntl:error=ENOLCK')), 'No locks available')


@expand
class Stays(Running):
    @rows(*[('%s: %s from call %d on' % (call, error, n), call, error, n, says)
            for call, error, says in (('pwrite64', 'ENOSPC', 'full|No space left'), ('pwrite64', 'EIO', 'Input/output error'),
                                      ('fsync', 'EIO', 'Input/output error'), ('fdatasync', 'EIO', 'Input/output error'),
                                      ('openat', 'EIO', 'Input/output error'), ('openat', 'ENFILE', 'Too many open files'))
            for n in ((1, 2, 3, 5, 8, 13) if LONG else (1, 4))])
    def a_call_fails(self, call, error, n, says):
        for text in self.through('%s:error=%s:when=%d+' % (call, error, n)):
            self.assertRegex(text, says)

    def test_the_file_system_has_become_read_only(self):
        for text in self.through(*['%s:error=EROFS' % call for call in ('pwrite64', 'openat', 'ftruncate', 'fallocate', 'unlink')]):
            self.assertRegex(text.lower(), 'read-only file system.*mount')


@expand
class Once(Running):
    # Failures that cannot last: nobody waits for ever, nothing of the output is missing.
    @rows(
        ('the spawner is told that batchd has gone', 'spawner_pid', 'sendmsg:error=EPIPE:when=3+4'),
        ('the log does not take it now', 'pid', 'splice:error=EAGAIN:when=2+6'),
        ('a look at the pipes is interrupted', 'pid', 'poll:error=EINTR:when=1+2'),
        ('a look at the pipes is refused', 'pid', 'poll:error=ENOMEM:when=1+6'),
        ('a thread is not woken', 'pid', 'write:error=EAGAIN:when=2+2'),
    )
    def a_call_fails(self, whose, what):
        b = self.box
        self.begin()
        fault = Inject(b.call('daemon.status')[whose], what)
        self.addCleanup(fault.stop)
        # Those that are over at once are read after their end mostly; of the others a child holds the pipe.
        run = b.submit(batch([bash('echo %d; echo e >&2; %s' % (i, 'sleep 2 & exit' if i >= 8 else ''), detach=i >= 8) for i in range(10)]))
        b.wait(run)
        for i in range(10):
            self.assertEqual((b.output(run, i + 1, 'stdout'), b.output(run, i + 1, 'stderr')), (b'%d\n' % i, b'e\n'))
        self.match([{'state': 'succeeded', 'attempts': 1}] * 10, b.get(run)['ops'])
        self.assertGreater(fault.hits(), 0, 'it was never met')
        fault.stop()
        self.let_go()
        self.all_well(restart=False)


@expand
class ToldToEnd(Case):
    """The log of a run cannot be written, and the database can (a limit of a file's size): what is told to end ends."""
    daemon = False
    LIMIT = 8 << 20

    def start(self):
        self.box.start(under=('prlimit', '--fsize=%d:' % self.LIMIT))

    def missing(self, op):
        """Not all that it printed is there, and so it is said."""
        b = self.box
        self.assertRegex(op['error'], 'output may be missing: it was told to end while')
        self.assertEqual((op['stdout_bytes'], b.output(1, op['index'])), (0, b''))
        self.assertEqual(b.get(1)['ops'][0]['stdout_bytes'], self.LIMIT)
        self.assertTrue(b.output(1, 1) == bytes(self.LIMIT), 'what fills the log')

    @rows(('is cancelled', 'cancelled', False), ('has timed out', 'failed', False), ('is cancelled, and batchd killed', 'cancelled', True))
    def an_op(self, state, killed):
        # Its sibling, which nobody told to end, waits with what it prints, and loses nothing.
        b = self.box
        self.start()
        gate = b.fifo('gate')
        b.submit(batch([bash('head -c %d /dev/zero' % self.LIMIT)],
                       [bash('seq 20; touch waits; read x < gate; seq 21 99'),
                        bash('seq 1000; touch said; sleep 600', timeout='1s' if state == 'failed' else 0)]))
        until(lambda: b.exists('said') and b.exists('waits'), 'the ops')
        pid = b.get(1)['ops'][2]['pid']
        if state == 'cancelled':
            b.call('run.cancel', run=1, op=3)
        if killed:
            until(lambda: not alive(pid), 'the end of its process')
            b.kill_daemon()
            self.start()
        until(lambda: b.get(1)['ops'][2]['state'] == state, 'the end of the op')
        self.assertEqual(b.get(1)['ops'][2]['cause'], 'cancel' if state == 'cancelled' else 'timeout')
        self.missing(b.get(1)['ops'][2])
        self.assertFalse(alive(pid))
        self.match({'state': 'succeeded'}, b.run(batch([bash('echo another')])))
        resource.prlimit(b.daemon_pid(), resource.RLIMIT_FSIZE, resource.prlimit(b.daemon_pid(), resource.RLIMIT_FSIZE)[1:] * 2)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(1)
        self.match({'state': 'succeeded', 'error': None}, b.get(1)['ops'][1])
        self.assertEqual(b.output(1, 2), b''.join(b'%d\n' % i for i in range(1, 100)))

    def test_a_read_is_cancelled(self):
        b = self.box
        self.start()
        b.put('long', b'x' * (4 << 20))
        b.submit(batch([bash('head -c %d /dev/zero' % self.LIMIT)], [read('long')]))
        until(lambda: b.get(1)['ops'][1]['state'] == 'running', 'the op')
        b.call('run.cancel', run=1)
        b.wait(1)
        op = b.get(1)['ops'][1]
        self.assertEqual((op['state'], op['cause']), ('cancelled', 'cancel'))
        self.missing(op)


@expand
class AtTheStart(Case):
    daemon = False

    def tried(self, what):
        """A start with system calls that fail: what batchd said, and whether any did."""
        b = self.box
        os.makedirs(os.path.dirname(b.socket), 0o700, exist_ok=True)
        calls = b.path('calls')
        argv = ['strace', '-qq', '-f', '-o', calls, '-e', 'trace=' + what.split(':')[0], '-e', 'inject=' + what, BATCHD, '--foreground',
                '--socket', b.socket, '--state-dir', b.state]
        with open(b.log, 'w') as log:
            p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=b.env(**NO_LEAKS), cwd=b.dir)

        def said():
            with open(b.log) as f:
                return f.read()
        until(lambda: p.poll() is not None or ' listens at ' in said(), 'a word')
        if p.poll() is None:
            with Rpc(b.socket) as r:
                r.call('daemon.stop')
        p.wait(PATIENCE)
        with open(calls) as f:
            return said(), '(INJECTED)' in f.read()

    @rows(('room for a file', 'ftruncate,fallocate', 'ENOSPC', 'No space left on device.*make room'),
          ('a write', 'pwrite64', 'ENOSPC', '(No space left on device|disk is full).*make room'),
          ('a read of the database', 'pread64', 'EIO', '[Ii]nput/output error|disk I/O error'))
    def fails(self, call, error, says):
        # It is named as what it is, or has done no harm; then batchd starts.
        if no_inject():
            self.skipTest(no_inject())
        met = 0
        for n in (range(1, 40) if LONG else (1, 2, 3, 4, 6, 9, 14)):
            said, hit = self.tried('%s:error=%s:when=%d' % (call, error, n))
            if not hit:
                break
            met += 1
            if ' listens at ' not in said and 'loading shared libraries' not in said:
                self.assertRegex(said, says, 'call %d' % n)
                self.assertNotIn('damaged', said)
        self.assertGreater(met, 1)
        self.box.start()
        self.match({'state': 'succeeded'}, self.box.run(batch([bash('true')])))


@expand
class NotExecuted(Case):
    """What could not be executed has failed to start, and says why, also where its spawner is killed before it has heard that."""
    def children(self, spawner):
        return [p for p in descendants(os.getpid()) if (proc_stat(p) or '--')[1] == spawner]

    def begin(self, op, call, warm):
        """(run, its child, which is about to find that it cannot)."""
        if no_inject():
            self.skipTest(no_inject())
        b = self.box
        b.run(batch([bash('true') for _ in range(5)] if warm else [exec_('true')]))
        self.spawner = b.spawner_pid()
        known = self.children(self.spawner)
        shell = [p for p in known if command_line(p) == [b'bash']]
        self.assertEqual(len(shell), warm)
        fault = Inject(shell[0] if warm else self.spawner, call + ':delay_enter=1500000')
        self.addCleanup(fault.stop)
        run = b.submit(batch([op]))
        child = until(lambda: [p for p in self.children(self.spawner) if p not in known], 'its child')[0]
        return run, child

    def next_spawner_watches(self, child):
        os.kill(self.spawner, signal.SIGKILL)
        until(lambda: self.box.spawner_pid() not in (None, self.spawner), 'the next spawner')

    def next_spawner_comes_after(self, child):
        batchd = self.box.daemon_pid()
        os.kill(batchd, signal.SIGSTOP)
        os.kill(self.spawner, signal.SIGKILL)
        until(lambda: not alive(child), 'the end of its child')
        os.kill(batchd, signal.SIGCONT)

    def all_are_killed(self, child):
        os.kill(self.spawner, signal.SIGKILL)
        self.box.kill_daemon()
        self.box.start()

    @rows(*[('%s, %s' % (what, how), *op, how) for how in ('next_spawner_watches', 'next_spawner_comes_after', 'all_are_killed')
            for what, *op in (
                ('program', exec_('/no/such/program'), 'execve', False, '/no/such/program.*[Nn]o such file'),
                ('program of one that is forked', exec_('/no/such/program', stdin={'file': '/dev/null'}), 'execve', False, '/no/such/program'),
                ('folder under the warm shell', bash('true', cwd='nowhere'), 'chdir', True, 'nowhere'))])
    def cannot_be_had(self, op, call, warm, says, how):
        run, child = self.begin(op, call, warm)
        getattr(self, how)(child)
        self.box.wait(run)
        self.match([{'state': 'failed', 'cause': 'start', 'exit': None, 'attempts': 1, 'error': lambda e: re.search(says, e)}],
                   self.box.get(run)['ops'])
        self.match({'state': 'succeeded'}, self.box.run(batch([bash('true')])))


del Running, Scene
