"""
Promise: when the disk is full, or descriptors, memory or processes run out, then new work is refused with that reason or accepted
for good; what runs ends normally, and its result is kept and stored when the trouble is over. No crash, no spinning.

Each row puts one fault on real programs while an op runs and others wait (fault_scene.py). The faults are made in faults.py; what is
done to files is in test_fault_files.py, to the clock in test_clock.py, steps of SQLite one by one in tests/unit/test_store_fault.c,
power cuts in test_powercut.py, kills in test_kill.py.
"""
import contextlib
import os
import resource
import signal
import socket
import subprocess
import threading

from fault_scene import LOUD, Scene
from faults import Inject, Memory, SmallDisk, no_inject, no_memory, ordinary, quiet_share
from harness import BATCHCTL, BATCHD, LONG, NO_LEAKS, PATIENCE, Case, Closed, Rpc, RpcError, alive, bash, batch, edit, expand, read, rows, until, write


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

    def no_room_for_output(self, run, gate):
        """The disk is full, then the run prints."""
        self.disk.fill()
        with open(gate, 'w') as f:
            f.write('\n')
        until(lambda: b'cannot write output of run %d ' % run in open(self.box.log, 'rb').read(), 'a word in the log')

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

    def test_what_a_terminal_has_is_not_taken_while_it_is_full(self):
        # It would be nowhere but in batchd, and go with it.
        b = self.box
        self.small(b.state, '2m')
        self.begin(under=self.disk.under)
        gate = b.fifo('tty-gate')
        run = b.submit(batch([bash('echo before; read x < tty-gate; head -c 20000 /dev/zero | tr "\\0" x', pty=True)]))
        until(lambda: b.output(run, 1), 'what it prints')
        self.no_room_for_output(run, gate)
        b.kill_daemon()
        self.disk.free()
        b.start(under=self.disk.under)
        b.wait(run)
        self.assertEqual(b.output(run, 1), b'before\r\n' + b'x' * 20000)
        self.let_go()
        self.all_well()

    def test_what_file_ops_did_is_stored_before_batchd_stops(self):
        # Nobody else knows of it; for this there is room.
        if no_inject():
            self.skipTest(no_inject())
        b = self.box
        self.small(b.state, '2m')
        self.begin(under=self.disk.under)
        for full in (1, 2):     # there is room again also after it was used
            b.put('e', b'old')
            fault = Inject(b.daemon_pid(), 'renameat:delay_enter=1500000')
            self.addCleanup(fault.stop)
            run = b.submit(batch([edit('e', 'old', 'new')]))
            until(lambda: 'renameat' in ''.join(fault.seen()), 'the edit')
            self.disk.fill()
            until(lambda: b.text('e') == 'new', 'what it does')
            until(lambda: b'results are kept in memory' in open(b.log, 'rb').read(), 'a word in the log')
            fault.stop()
            b.disconnect()
            b.daemon.terminate()
            self.assertEqual(b.daemon.wait(PATIENCE), 0)
            b.start(under=self.disk.under)
            self.match({'state': 'succeeded', 'ops': [{'attempts': 1}]}, b.wait(run) and b.get(run))
            self.disk.free()
            self.assertIsNone(self.try_submit('then%d' % full))
            b.wait(self.taken['then%d' % full])
        self.let_go()
        self.all_well()

    def test_batchd_stops_while_a_file_that_is_read_finds_no_room(self):
        b = self.box
        self.small(b.state, '8m')
        self.begin(under=self.disk.under)
        b.put('big', b'x' * 2000000)
        gate = b.fifo('other-gate')
        run = b.submit(batch([bash('touch other; read x < other-gate')], [read('big')]))
        until(lambda: b.exists('other'), 'the op before it')
        self.no_room_for_output(run, gate)
        b.disconnect()
        b.daemon.terminate()
        self.assertEqual(b.daemon.wait(PATIENCE), 0)
        self.disk.free()
        b.start(under=self.disk.under)
        b.wait(run)
        self.assertTrue(b.output(run, 2) == b'x' * 2000000)
        self.let_go()
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

    def each_in_turn(self, what, counts, submits):
        """For each K of `counts` the Kth call fails while so much is submitted and runs; some were met."""
        self.begin()
        hits = 0
        for k in counts:
            fault = self.inject(self.box.daemon_pid(), '%s:when=%d' % (what, k))
            for i in range(submits):
                self.try_submit('%d-%d' % (k, i))
            for run in self.taken.values():
                self.box.wait(run)
            hits += fault.hits()
            fault.stop()
        self.assertGreater(hits, 0, 'it was never met')
        self.let_go()
        self.all_well()

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
        self.each_in_turn(what, (1, 2, 3, 5, 8) if LONG else (1, 3), submits=2)

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
        self.each_in_turn('write:error=EIO', range(1, 6), submits=1)

    def test_a_log_whose_sync_has_failed_is_written_anew(self):
        # A kernel says once that it could not write; the next fdatasync says that all is well.
        b = self.box
        self.begin()
        gate = b.fifo('other-gate')
        run = b.submit(batch([bash('echo some; touch other; read x < other-gate')]))
        until(lambda: b.exists('other') and b.get(run)['ops'][0]['pid'] and b.output(run, 1), 'the other op')
        b.stored_op(run)
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

    def file_ops_wait(self):
        """Two runs, whose file ops there are no descriptors for, and the fault."""
        if no_inject():
            self.skipTest(no_inject())
        b = self.box
        self.begin(**NO_LEAKS)      # it is stopped while strace is on it
        for name in ('e', 'r'):
            with open(b.path(name), 'w') as f:
                f.write('old')
        gate = b.fifo('other')
        # With the log of the run open, so that what is missing is missed by the file ops alone.
        runs = [b.submit(batch([bash('echo')], [bash('touch at-%d; read x < other' % i)], ops)) for i, ops in enumerate((
            [write('w/w', 'new'), write('a', 'once', append=True), edit('e', 'old', 'new'), read('r')], [write('never', 'x'), read('r')]))]
        until(lambda: b.exists('at-0') and b.exists('at-1') and all(b.get(run)['ops'][0]['state'] == 'succeeded' for run in runs), 'the ops before them')
        fault = Inject(b.daemon_pid(), 'openat:error=EMFILE', 'pipe2:error=EMFILE')
        self.addCleanup(fault.stop)
        with open(gate, 'w') as f:
            f.write('\n\n')
        until(lambda: self.trouble('file ops wait'), 'a word about it')
        until(lambda: all(o['state'] == 'running' for run in runs for o in b.get(run)['ops'][2:]), 'all of them to have begun')
        self.assertRegex(self.trouble('file ops wait')[0], 'too many open files: raise the limit of open files')
        return runs, fault

    def test_no_descriptors_for_file_ops(self):
        # They wait as commands do, and can be cancelled meanwhile; what they are to do is then done once.
        b = self.box
        runs, fault = self.file_ops_wait()
        b.call('run.cancel', run=runs[1])
        self.quiet()
        fault.stop()
        for run, state in zip(runs, ('succeeded', 'cancelled')):
            b.wait(run)
            self.match([*[{'state': 'succeeded'}] * 2, *[{'state': state, 'attempts': 1}] * (len(b.get(run)['ops']) - 2)], b.get(run)['ops'])
        self.assertEqual([b.text(name) for name in ('w/w', 'a', 'e')], ['new', 'once', 'new'])
        self.assertEqual(b.output(runs[0], 6), b'old')
        self.assertFalse(b.exists('never'))
        self.let_go()
        self.all_well(restart=False)

    def test_batchd_is_told_to_stop_while_file_ops_wait(self):
        # It is known that they have not been done: the next one does them, or they have failed; nothing is lost.
        b = self.box
        runs, fault = self.file_ops_wait()
        b.disconnect()
        os.kill(b.daemon_pid(), signal.SIGTERM)
        self.assertEqual(b.daemon.wait(), 0)
        fault.stop()
        b.start()
        for run in runs:
            b.wait(run)
        once = {'state': 'failed', 'cause': 'io', 'error': lambda e: 'too many open files' in e}
        self.match([*[{'state': 'succeeded'}] * 3, once, once, {'state': 'succeeded'}], b.get(runs[0])['ops'])
        self.match([{'state': 'succeeded'}] * 4, b.get(runs[1])['ops'])
        self.assertEqual([b.text(name) for name in ('w/w', 'e', 'never')], ['new', 'old', 'x'])
        self.assertFalse(b.exists('a'))
        self.let_go()
        self.all_well(restart=False)

    def test_batchd_is_told_to_stop_while_a_batch_is_stored(self):
        # What is claimed with it has not begun.
        if no_inject():
            self.skipTest(no_inject())
        b = self.box
        b.start(**NO_LEAKS)
        b.put('a', b'old')
        fault = Inject(b.daemon_pid(), 'fdatasync:delay_enter=1000000')
        self.addCleanup(fault.stop)
        doc = dict(batch([write('a', ' new', append=True)], key='once'), cwd=b.work)
        submitting = threading.Thread(target=self.submit_unless_it_goes, args=(doc,))
        submitting.start()
        until(lambda: 'fdatasync' in ''.join(fault.seen()), 'the commit')
        os.kill(b.daemon_pid(), signal.SIGTERM)
        submitting.join()
        b.disconnect()
        self.assertEqual(b.daemon.wait(PATIENCE), 0)
        fault.stop()
        b.start()
        run = b.call('batch.submit', batch=doc)['run']
        self.match({'state': 'succeeded', 'ops': [{'state': 'succeeded', 'attempts': 1}]}, b.wait(run) and b.get(run))
        self.assertEqual(b.text('a'), 'old new')

    def submit_unless_it_goes(self, doc):
        with contextlib.suppress(Closed), Rpc(self.box.socket) as r:
            r.call('batch.submit', batch=doc)

    def test_descriptors_that_come_and_go(self):
        # What has been changed needs no further one to be known for it: each waits, and is done once.
        if no_inject():
            self.skipTest(no_inject())
        b = self.box
        b.start()
        gate = b.fifo('gate')
        b.put('w/0')
        for when in ('2+5', '3+5', '4+5'):
            b.put('a', b'old')
            b.put('e', b'old')
            run = b.submit(batch([bash('read x < gate')], *[
                [write('w/%d' % i, when), write('a', 'n', append=True), edit('e', 'old', 'old n')] for i in range(3)]))
            fault = Inject(b.daemon_pid(), 'openat:error=EMFILE:when=' + when)
            self.addCleanup(fault.stop)
            with open(gate, 'w') as f:
                f.write('\n')
            b.wait(run)
            self.assertGreater(fault.hits(), 0, 'it was never met')
            fault.stop()
            self.match([{'state': 'succeeded', 'attempts': 1, 'error': None}] * 10, b.get(run)['ops'])
            self.assertEqual([b.text(name) for name in ('w/2', 'a', 'e')], [when, 'oldnnn', 'old n n n'])

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


del Scene
