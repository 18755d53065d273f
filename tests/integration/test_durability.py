"""Contract section 1: accepted means durable, an op runs at most once per attempt over any process crash."""
import contextlib
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import unittest

from faults import Inject, no_inject
from harness import BATCHD, SLOW, Case, Closed, RpcError, alive, bash, batch, descendants, expand, message, proc_stat, process_name, rows, strace_works, todos, until, write

SUCCEEDED = {'state': 'succeeded', 'cause': None}


@expand
class KilledDaemon(Case):
    """kill -9 of batchd."""

    def began(self, name='began'):
        until(lambda: self.box.exists(name), 'the start of the op')

    def test_ops_go_on_and_nothing_is_missing_afterwards(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo before; touch began; read x < gate; echo after; echo err >&2; exit 3', ok_exits=[3])],
                             [bash('echo next')]))
        self.began()
        pid = b.get(run)['ops'][0]['pid']
        b.kill_daemon()
        self.assertIn(proc_stat(pid)[0], 'SR')
        with open(gate, 'w') as f:
            f.write('\n')
        until(lambda: not alive(pid), 'the end of the op without its daemon')
        b.start()
        b.wait(run)
        self.match({'state': 'succeeded', 'ops': [{'state': 'succeeded', 'exit': 3, 'pid': pid, 'attempts': 1}, SUCCEEDED]}, b.get(run))
        self.assertEqual(b.output(run, 1, 'stdout'), b'before\nafter\n')
        self.assertEqual(b.output(run, 1, 'stderr'), b'err\n')
        self.assertEqual(b.output(run, 2), b'next\n')

    def test_an_answered_cancel_is_never_forgotten(self):
        b = self.box
        run = b.submit(batch([bash('touch began; exec sleep 60')], [bash('true')]))
        held = b.submit(batch([bash('touch never')]), held=True)
        self.began()
        b.call('run.cancel', run=run)
        b.call('run.cancel', run=held)
        b.restart()
        for r in (run, held):
            b.wait(r)
            self.assertEqual(b.get(r)['state'], 'cancelled')
        self.match({'ops': [{'state': 'cancelled', 'cause': 'cancel'}, {'state': 'cancelled'}]}, b.get(run))
        self.assertFalse(b.exists('never'))

    def test_a_timeout_that_fired_holds_over_a_restart(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('trap "touch told; read x < gate; exit 0" TERM; touch began; while :; do sleep .05; done',
                                   timeout='300ms')]))
        until(lambda: b.exists('told'), 'the TERM')
        pid = b.get(run)['ops'][0]['pid']
        b.kill_daemon()
        with open(gate, 'w') as f:
            f.write('\n')
        until(lambda: not alive(pid), 'the end of the op without its daemon')
        b.start()
        b.wait(run)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'timeout', 'exit': None}]}, b.get(run))

    def test_a_cancelled_op_is_not_tried_again_after_a_restart(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo try >> tries; trap "touch told; read x < gate; exit 1" TERM; touch began; '
                                   'while :; do sleep .05; done', retries=2, retry_delay=0)]))
        self.began()
        pid = b.get(run)['ops'][0]['pid']
        b.call('run.cancel', run=run, op=1)
        until(lambda: b.exists('told'), 'the TERM')
        b.kill_daemon()
        with open(gate, 'w') as f:
            f.write('\n')
        until(lambda: not alive(pid), 'the end of the op without its daemon')
        b.start()
        b.wait(run)
        self.match({'ops': [{'state': 'cancelled', 'cause': 'cancel', 'attempts': 1}]}, b.get(run))
        self.assertEqual(b.text('tries'), 'try\n')

    def test_a_frozen_run_thaws_after_a_restart(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo thawed')]))
        self.began()
        pid = b.get(run)['ops'][0]['pid']
        b.call('run.pause', run=run, freeze=True)
        until(lambda: proc_stat(pid)[0] == 'T', 'the freeze')
        b.restart()
        self.match({'state': 'paused', 'ops': [{'pid': pid}]}, b.get(run))
        b.call('run.resume', run=run)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertEqual(b.output(run, 1), b'thawed\n')

    def test_a_freeze_that_was_not_stored_holds_nobody_up(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo on')]))
        self.began()
        with contextlib.closing(sqlite3.connect(os.path.join(b.state, 'batchd.db'), isolation_level=None)) as db:
            db.execute('BEGIN IMMEDIATE')
            b.rpc.request('run.pause', {'run': run, 'freeze': True})
            b.call('rpc.hello')     # it has been taken by now
            b.kill_daemon()
        b.start()
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertEqual(b.output(run, 1), b'on\n')

    def test_an_op_that_still_runs_is_adopted(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo before; touch began; read x < gate; echo after; exit 4')]))
        self.began()
        b.restart()
        self.match({'state': 'running', 'ops': [{'state': 'running'}]}, b.get(run))
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'exit', 'exit': 4}]}, b.get(run))
        self.assertEqual(b.output(run, 1), b'before\nafter\n')

    def test_an_adopted_op_can_be_cancelled(self):
        b = self.box
        run = b.submit(batch([bash('echo $$ > pid; touch began; exec sleep 60')]))
        self.began()
        b.restart()
        b.call('run.cancel', run=run)
        b.wait(run)
        self.match({'state': 'cancelled', 'ops': [{'state': 'cancelled', 'cause': 'cancel'}]}, b.get(run))
        self.assertFalse(alive(int(b.text('pid'))))

    def test_a_timeout_holds_over_it(self):
        b = self.box
        run = b.submit(batch([bash('touch began; exec sleep 60', timeout=1)]))
        self.began()
        b.restart()
        b.wait(run)
        self.match({'state': 'failed', 'ops': [{'state': 'failed', 'cause': 'timeout'}]}, b.get(run))

    def test_right_after_submit_has_answered(self):
        b = self.box
        for _ in range(5):
            run = b.submit(batch([bash('echo x >> ran; echo out')], [bash('echo y >> ran')]))
            b.restart()
            b.wait(run)
            self.match({'state': 'succeeded', 'ops': [SUCCEEDED, SUCCEEDED]}, b.get(run))
            self.assertEqual(b.output(run, 1), b'out\n')
            self.assertEqual(b.text('ran'), 'x\ny\n', 'each ran once')
            os.unlink(b.path('ran'))

    def test_every_answered_submit_is_there(self):
        b = self.box
        answered, stop = [], threading.Event()

        def submit():
            r = b.connect()
            try:
                while not stop.is_set():
                    answered.append(r.call('batch.submit', batch=dict(batch([bash('true')]), cwd=b.work))['run'])
            except (OSError, Closed, AssertionError):
                pass
        threads = [threading.Thread(target=submit) for _ in range(4)]
        [t.start() for t in threads]
        until(lambda: len(answered) > 60, 'some submits')
        os.kill(b.daemon.pid, signal.SIGKILL)
        stop.set()
        [t.join() for t in threads]
        b.disconnect()
        b.daemon.wait()
        b.daemon = None
        b.start()
        self.assertEqual(len(answered), len(set(answered)))
        for run in answered:
            b.wait(run)
            self.assertEqual(b.call('run.get', run=run, ops='none')['state'], 'succeeded')

    def test_at_most_once_over_many_crashes(self):
        b = self.box
        n = 120
        run = b.submit(batch([bash('echo %d >> ran; sleep .05' % i) for i in range(n)]), jobs=8)
        for _ in range(4):
            until(lambda: b.exists('ran'), 'a start')
            time.sleep(0.1 * SLOW)      # any moment will do: this is not a wait for something
            b.restart()
        b.wait(run)
        got = b.get(run)
        self.assertEqual(got['summary']['succeeded'], n, got['summary'])
        self.assertEqual(sorted(map(int, b.text('ran').split())), list(range(n)), 'each ran once')

    def test_output_of_a_talker_is_whole(self):
        b = self.box
        run = b.submit(batch([bash('touch began; for i in {1..20000}; do echo $i; done; sleep .2; seq 20001 40000')]))
        self.began()
        b.restart()
        b.restart()
        b.wait(run)
        self.assertEqual(b.output(run, 1, 'stdout'), b''.join(b'%d\n' % i for i in range(1, 40001)))

    # As fast as it goes, in whole pages, and now and then in pieces that are none. Each block is another.
    LOUD = """
import os
rest = bytes(range(256)) * 256
for i in range(%d):
    block = b'%%015d\\n' %% i + rest[16:1000 if %d and i %% 300 == 0 else 65536]
    while block:
        block = block[os.write(1, block):]
"""

    def loud(self, name, blocks, odd):
        self.box.put(name, self.LOUD % (blocks, odd))
        return bash('touch began; exec %s %s' % (sys.executable, name))

    def loud_whole(self, run, op, blocks, odd):
        b, got, wanted, offset, size = self.box, hashlib.sha256(), hashlib.sha256(), 0, 0
        rest = bytes(range(256)) * 256
        for i in range(blocks):
            block = b'%015d\n' % i + rest[16:1000 if odd and i % 300 == 0 else 65536]
            wanted.update(block)
            size += len(block)
        while True:
            r = b.call('run.output', run=run, op=op, stream='stdout', offset=offset, limit=4 << 20)
            got.update(r['data'])
            offset += len(r['data'])
            if not r['data']:
                break
        self.assertEqual((offset, got.hexdigest()), (size, wanted.hexdigest()))

    @rows(('in whole pages', 0, 1), ('and not only in those', 1, 1), ('two at a time', 1, 2))
    def output_of_who_prints_as_fast_as_a_disk_takes_it_is_whole(self, odd, jobs):
        b = self.box
        blocks = 4000
        run = b.submit(batch([self.loud('one.py', blocks, odd), self.loud('two.py', blocks, odd)]), output_cap=0, jobs=jobs)
        self.began()
        while b.get(run)['state'] == 'running':
            time.sleep(random.random() * 0.1)      # any moment will do: this is not a wait for something
            b.restart()
        self.match({'summary': {'succeeded': 2}, 'ops': [{'dropped_bytes': 0}] * 2}, b.get(run))
        for op in (1, 2):
            self.loud_whole(run, op, blocks, odd)

    @unittest.skipUnless(strace_works(), 'strace is not installed, or may not trace here')
    def test_ops_that_end_while_the_next_daemon_asks_what_runs(self):
        # Slowed down there, it hears of ops in one breath that they run and that they have ended.
        b = self.box
        run = b.submit(batch([bash('touch began; sleep %.2f; echo out; test $BATCHD_ATTEMPT = 2' % (i * .05), retries=1, retry_delay=0)
                              for i in range(40)]), group='wide')
        b.call('group.set', group='wide', slots=40)
        self.began()
        b.kill_daemon()
        b.start(under=['strace', '-qq', '-o', '/dev/null', '-e', 'trace=recvmsg', '-e', 'inject=recvmsg:delay_enter=300000:when=1..3'])
        b.wait(run)
        got = b.get(run)
        self.match({'state': 'succeeded', 'ops': [{'attempts': 2}] * 40}, got)
        for op in got['ops']:
            for attempt in (1, 2):
                self.assertEqual(b.output(run, op['index'], attempt=attempt), b'out\n', (op['index'], attempt))
        self.assertEqual([g['used'] for g in b.call('group.list')['groups'] if g['group'] == 'wide'], [0])

    def test_what_waits_goes_on(self):
        b = self.box
        gate = b.fifo('gate')
        first = b.submit(batch([bash('touch began; read x < gate', id='a'), bash('echo b', id='b', needs=['a'])], [bash('echo c')]))
        second = b.submit(batch([bash('true')]), needs_runs=[first])
        held = b.submit(batch([bash('true')]), held=True)
        later = b.submit(batch([bash('true')]), not_before=int(time.time() * 1000) + 500)
        self.began()
        b.restart()
        self.assertEqual(b.get(held)['state'], 'paused')
        with open(gate, 'w') as f:
            f.write('\n')
        for run in (first, second, later):
            b.wait(run)
            self.assertEqual(b.get(run)['state'], 'succeeded')
        b.call('run.resume', run=held)
        b.wait(held)

    def test_what_did_not_begin_since_another_failed_is_counted_once(self):
        """Its end is stored, and follows from the other's as well."""
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('exit 3', id='a'), bash('true', id='b', needs=['a']), bash('true', id='c', needs=['b']),
                              bash('touch began; read x < gate')]))
        self.began()
        until(lambda: b.get(run)['summary']['skipped'] == 2, 'the end of what does not begin')
        b.restart()
        self.match({'state': 'running', 'summary': {'failed': 1, 'skipped': 2, 'succeeded': 0}}, b.get(run))
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'failed', 'summary': {'failed': 1, 'skipped': 2, 'succeeded': 1}}, b.get(run))

    def test_retries_are_counted_over_it(self):
        b = self.box
        run = b.submit(batch([bash('echo x >> tries; touch began; sleep .2; false', retries=2, retry_delay=0)]))
        self.began()
        b.restart()
        b.wait(run)
        self.match([{'state': 'failed', 'attempts': 3}], b.get(run)['ops'])
        self.assertEqual(b.text('tries'), 'x\n' * 3)

    def test_what_the_last_try_said_is_known_after_it(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo no; exit 7', retries=1, retry_delay=60), bash('read x < gate; exit 1')]), on_failure='kill')
        until(lambda: (b.get(run)['ops'][0]['state'], b.get(run)['ops'][0]['attempts']) == ('waiting', 1), 'the end of the first try')
        b.call('run.pause', run=run)
        b.restart()
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'failed', 'cause': 'exit', 'exit': 7, 'attempts': 1, 'stdout_bytes': 3}, b.get(run)['ops'][0])

    @rows(('killed', lambda b: b.restart()), ('stopped', lambda b: (b.stop_quietly(), b.start())))
    def a_retry_waits_for_its_delay_over_it(self, again):
        b = self.box
        soon = b.submit(batch([bash('test $BATCHD_ATTEMPT = 2', retries=1, retry_delay='2s')]))
        late = b.submit(batch([bash('echo x >> tries; exit 7', retries=1, retry_delay='1h')], [bash('touch never')]))
        for run in (soon, late):
            until(lambda: (b.get(run)['ops'][0]['state'], b.get(run)['ops'][0]['attempts']) == ('waiting', 1), 'the end of the first try')
        again(b)
        b.wait(soon)
        self.match({'state': 'succeeded', 'ops': [{'attempts': 2}]}, b.get(soon))
        self.match({'state': 'running', 'ops': [{'state': 'waiting', 'attempts': 1}, {}]}, b.get(late))
        self.assertEqual(b.text('tries'), 'x\n')
        b.call('run.cancel', run=late)
        b.wait(late)
        self.match({'state': 'cancelled', 'ops': [{'state': 'cancelled', 'attempts': 1}, {'state': 'cancelled'}]}, b.get(late))

    def test_a_write_that_was_done_is_content(self):
        b = self.box
        for i in range(5):
            run = b.submit(batch([write('f%d' % j, 'x' * 100000, create_only=True) for j in range(20)]))
            b.restart()
            b.wait(run)
            self.assertEqual(b.get(run)['state'], 'succeeded', b.get(run))
            for j in range(20):
                os.unlink(b.path('f%d' % j))
            # What was being written at the moment of the kill may stay beside it, under a name of ours.
            left = [n for n in os.listdir(b.work) if n != '.batchd' and not n.startswith('.batchd.')]
            self.assertEqual(left, [])

    def test_todos_of_a_run_over_it(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([todos({'id': 'a', 'content': 'A'}), bash('touch began; read x < gate', todo='a')]), list='l')
        self.began()
        b.restart()
        until(lambda: b.call('todo.list', list='l')['todos'][0]['status'] == 'in_progress', 'in_progress', 5 * SLOW)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertEqual(b.call('todo.list', list='l')['todos'][0]['status'], 'completed')

    def test_revisions_outlive_it(self):
        b = self.box
        first = b.connect().call('run.subscribe')['rev']
        b.run(batch([bash('true')]))
        before = b.connect().call('run.subscribe')['rev']
        b.restart()
        after = b.connect().call('run.subscribe')['rev']
        self.assertGreater(before, first)
        self.assertGreaterEqual(after, before)

    def test_keys_outlive_it(self):
        b = self.box
        run = b.submit(batch([bash('true')]), key='k')
        b.restart()
        self.assertEqual(b.submit(batch([bash('true')]), key='k'), run)
        b.run(batch([bash('true')]))


STUBBORN = 'trap "touch told" TERM; touch began; while [ ! -e go ]; do sleep .05; done'
CANCELLED = {'state': 'cancelled', 'cause': 'cancel', 'attempts': 1}
TIMED_OUT = {'state': 'failed', 'cause': 'timeout', 'exit': None, 'attempts': 1}
NEVER = {'started': None}


@expand
class StopNotStored(Case):
    """An op is told to end, and batchd is killed before that is stored: the database is locked meanwhile. Nobody was answered."""

    def told(self, run, ask, alone):
        """The op has ended, with nobody there or (not alone) adopted by the next batchd."""
        b = self.box
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['pid'], 'the op')
        pid = b.get(run)['ops'][0]['pid']
        with contextlib.closing(sqlite3.connect(os.path.join(b.state, 'batchd.db'), isolation_level=None)) as db:
            db.execute('BEGIN IMMEDIATE')
            ask(b, run)
            until(lambda: b.exists('told'), 'the TERM')
            b.kill_daemon()
        if alone:
            b.put('go')
            until(lambda: not alive(pid), 'the end of the op without its daemon')
        b.start()
        if not alone:
            self.match({'ops': [{'state': 'running', 'pid': pid}, *[{}] * (len(b.get(run)['ops']) - 1)]}, b.get(run))
            b.put('go')
        b.wait(run)

    @rows(*[(sentence + (', and it ends alone' if alone else ', and it is adopted'), alone, *row) for alone in (True, False) for sentence, *row in (
        ('its run is cancelled', batch([bash(STUBBORN)], [bash('touch never')], [bash('true')], on_failure='continue'),
         lambda b, run: b.rpc.request('run.cancel', {'run': run}),
         {'state': 'cancelled', 'ops': [CANCELLED, {'state': 'cancelled', **NEVER}, {'state': 'cancelled', **NEVER}]}),
        ('its run is cancelled but for cleaning up', batch([bash(STUBBORN)], [bash('touch never')], message(bash('true'), always=True)),
         lambda b, run: b.rpc.request('run.cancel', {'run': run}),
         {'state': 'cancelled', 'ops': [CANCELLED, {'state': 'cancelled', **NEVER}, SUCCEEDED]}),
        ('its run is cancelled now', batch([bash(STUBBORN)], message(bash('touch never'), always=True)),
         lambda b, run: b.rpc.request('run.cancel', {'run': run, 'now': True}),
         {'state': 'cancelled', 'ops': [CANCELLED, {'state': 'cancelled', **NEVER}]}),
        ('it is cancelled', batch([bash(STUBBORN, retries=3, retry_delay=0), bash('true', after_any=['a'])], [bash('touch never')]),
         lambda b, run: b.rpc.request('run.cancel', {'run': run, 'op': 1}),
         {'state': 'failed', 'ops': [CANCELLED, SUCCEEDED, {'state': 'skipped'}]}),
        ('its timeout comes', batch([bash(STUBBORN, timeout='1s')]), lambda b, run: None, {'state': 'failed', 'ops': [TIMED_OUT]}),
        ('that of its message comes', batch(message(bash(STUBBORN), timeout='1s')), lambda b, run: None, {'state': 'failed', 'ops': [TIMED_OUT]}),
        ('that of its run comes', batch([bash(STUBBORN)], [bash('touch never')], timeout='1s'), lambda b, run: None,
         {'state': 'failed', 'ops': [TIMED_OUT, {'state': 'skipped', 'cause': 'timeout'}]}),
        ('it times out and is tried again', batch([bash('test $BATCHD_ATTEMPT = 2 || { %s; }' % STUBBORN, timeout='1s', retries=1, retry_delay=0)]),
         lambda b, run: None, {'state': 'succeeded', 'ops': [{'state': 'succeeded', 'attempts': 2}]}),
        ('another one fails', batch([bash(STUBBORN), bash('until [ -e told ] || [ -e fail ]; do sleep .05; done; exit 3')], on_failure='kill'),
         lambda b, run: b.put('fail'),
         {'state': 'failed', 'ops': [{'state': 'cancelled', 'cause': 'dependency', 'exit': 0}, {'state': 'failed', 'cause': 'exit', 'exit': 3}]}),
    )])
    def what_was_meant_is_known(self, alone, b, ask, expected):
        b['messages'][0]['ops'][0]['id'] = 'a'
        run = self.box.submit(b)
        self.told(run, ask, alone)
        self.match(expected, self.box.get(run))
        self.assertFalse(self.box.exists('never'))

    def test_runs_that_the_op_submitted_end_with_it(self):
        b = self.box
        run = b.submit(batch([bash("batchctl submit -e 'touch inner; exec sleep 60' > submitted; until [ -e inner ]; do sleep .05; done; " + STUBBORN)]))
        self.told(run, lambda b, run: b.rpc.request('run.cancel', {'run': run, 'op': 1}), True)
        inner = int(b.text('submitted'))
        b.wait(inner)
        self.match({'state': 'cancelled', 'parent': run, 'ops': [{'state': 'cancelled', 'cause': 'cancel'}]}, b.get(inner))


DYING = """
import fcntl, os, socket, sys
lock, path = sys.argv[1:]
f = open(lock, 'w')
fcntl.flock(f, fcntl.LOCK_EX)
print(os.getpid(), path, sep='\\n', file=f, flush=True)
if path:
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen()
print(flush=True)
sys.stdin.read()
"""


@expand
class Starting(Case):
    daemon = False

    @rows(
        ('a fifo where the spawner is noted', {'spawner': None}),
        ('a fifo where the spawner is noted anew', {'spawner.new': None}),
        ('fifos where it is noted whose the runs folder is', {'runs.of': None, 'runs.of.new': None}),
        ('a fifo where room is kept', {'spare': None}),
        ('a link to the database', {'batchd.db': 'elsewhere.db'}),
    )
    def things_in_its_folder(self, things):
        # None of them is a reason to wait, or to lose what was answered.
        b = self.box
        os.makedirs(b.state, 0o700)
        for name, to in things.items():
            path = os.path.join(b.state, name)
            if to:
                os.close(os.open(os.path.join(b.dir, to), os.O_CREAT, 0o600))
                os.symlink(os.path.join(b.dir, to), path)
            else:
                os.mkfifo(path)
        b.start()
        run = b.submit(batch([bash('echo x')]))
        b.wait(run)
        b.restart()
        self.assertEqual((b.call('run.get', run=run)['state'], b.output(run, 1)), ('succeeded', b'x\n'))
        self.match({'state': 'succeeded'}, b.run(batch([bash('true')])))

    @rows(
        ('its lock is still held', False),
        ('its lock is still held and its socket still takes connections', True),
    )
    def one_that_is_just_dying(self, listens):
        # Killed, a process keeps its files until its last thread is gone; whoever comes meanwhile waits for that.
        b = self.box
        os.makedirs(b.state, 0o700)
        os.makedirs(os.path.dirname(b.socket), 0o700)
        with subprocess.Popen([sys.executable, '-c', DYING, os.path.join(b.state, 'lock'), b.socket if listens else ''],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as dying:
            dying.stdout.readline()

            def waits():
                fds = '/proc/%d/fd/' % b.daemon.pid
                with contextlib.suppress(FileNotFoundError):
                    return any('inotify' in os.readlink(fds + n) for n in os.listdir(fds))

            def end():
                until(lambda: b.daemon and waits(), 'a batchd that waits')
                dying.stdin.close()
            ends = threading.Thread(target=end)
            ends.start()
            with open(b.log, 'ab') as log:
                b.daemon = subprocess.Popen([BATCHD, '--foreground', '--socket', b.socket, '--state-dir', b.state], stdout=log, stderr=log,
                                            env=b.env(), cwd=b.dir)
            ends.join()
            dying.wait()
        until(b.answers, 'batchd')
        self.match({'state': 'succeeded'}, b.run(batch([bash('true')])))


@expand
class KilledSpawner(Case):
    LEAVING = ("setsid bash -c 'trap \"\" TERM; exec sleep 300' </dev/null >/dev/null 2>&1 & echo $! > child; touch began; "
               "read x < gate; echo out")

    @rows(
        ('the op has ended and they do not heed TERM', 'ended', 'succeeded'),
        ('the op goes on', 'running', 'succeeded'),
        ('the op goes on and nobody will know how it ends', 'stranger', 'interrupted'),
    )
    def what_an_op_left_behind_is_ended_all_the_same(self, when, state):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash(self.LEAVING)]))
        until(lambda: b.exists('began'), 'the op')
        child, pid = int(b.text('child')), b.get(run)['ops'][0]['pid']
        until(lambda: process_name(child) == 'sleep', 'its child')
        if when == 'stranger':      # batchd is no longer the spawner's parent
            b.restart()

        def end():
            with open(gate, 'w') as f:
                f.write('\n')
            until(lambda: not alive(pid), 'the end of the op')

        def kill():
            spawner = b.spawner_pid()
            os.kill(spawner, signal.SIGKILL)
            until(lambda: b.call('daemon.status')['spawner_pid'] not in (0, spawner), 'another spawner')
        for step in (end, kill) if when == 'ended' else (kill, end):
            step()
        b.wait(run)
        self.match({'state': state}, b.get(run)['ops'][0])
        until(lambda: not alive(child), 'the end of what it left behind')

    @rows(('to go on', True, 'S', 'run.resume', {}), ('to halt', False, 'T', 'run.pause', {'freeze': True}))
    def what_it_was_told_and_did_not_do_is_told_the_next(self, frozen, state, asked, keys):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; echo on')]))
        until(lambda: b.exists('began'), 'the op')
        pid, spawner = b.get(run)['ops'][0]['pid'], b.spawner_pid()
        if frozen:
            b.call('run.pause', run=run, freeze=True)
            until(lambda: proc_stat(pid)[0] == 'T', 'the freeze')
        os.kill(spawner, signal.SIGSTOP)
        b.call(asked, run=run, **keys)
        os.kill(spawner, signal.SIGKILL)
        until(lambda: proc_stat(pid)[0] == state, 'what it was told')
        if not frozen:
            b.call('run.resume', run=run)
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertEqual(b.output(run, 1), b'on\n')

    def test_to_go_on_is_told_also_when_both_were_killed(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('touch began; read x < gate; touch on')]))
        until(lambda: b.exists('began'), 'the op')
        pid, spawner = b.get(run)['ops'][0]['pid'], b.spawner_pid()
        b.call('run.pause', run=run, freeze=True)
        until(lambda: proc_stat(pid)[0] == 'T', 'the freeze')
        os.kill(spawner, signal.SIGSTOP)
        b.call('run.resume', run=run)
        b.kill_daemon()
        os.kill(spawner, signal.SIGKILL)
        until(lambda: not alive(spawner), 'the end of the spawner')
        self.assertEqual(proc_stat(pid)[0], 'T', 'it was not told yet')
        b.start()
        until(lambda: proc_stat(pid)[0] == 'S', 'what it was told')
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.assertTrue(b.exists('on'))

    def test_what_an_op_left_behind_has_its_time_to_end(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('(exec setsid bash -c \'trap "sleep .5; touch cleaned; exit" TERM; touch began; while :; do sleep .05; done\') '
                                   '</dev/null >/dev/null 2>&1 & read x < gate')], [bash('test -e cleaned')]))
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['pid'], 'the op')
        self.new_spawner(b.get(run)['ops'][0]['pid'])
        with open(gate, 'w') as f:
            f.write('\n')
        b.wait(run)
        self.match({'state': 'succeeded', 'ops': [{'state': 'succeeded', 'lingering': lambda n: n >= 1}, {'state': 'succeeded'}]}, b.get(run))

    def test_the_grace_does_not_begin_anew(self):
        # It would never end: no spawner lives as long as the grace.
        b = self.box
        run = b.submit(batch([bash('trap "" TERM; touch began; while :; do sleep .05; done')]))
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['pid'], 'the op')
        pid = b.get(run)['ops'][0]['pid']
        b.call('run.cancel', run=run, grace='1500ms')

        def ended():
            spawner = b.spawner_pid()
            with contextlib.suppress(ProcessLookupError, TypeError):
                os.kill(spawner, signal.SIGKILL)
            until(lambda: b.call('daemon.status')['spawner_pid'] not in (0, spawner), 'another spawner')
            time.sleep(.1)      # a life that is shorter than the grace
            return not alive(pid)
        until(ended, 'the KILL')
        b.wait(run)
        self.match({'state': 'cancelled', 'ops': [{'state': 'cancelled', 'signal': 'SIGKILL'}]}, b.get(run))

    def test_the_daemon_goes_on_and_says_what_it_cannot_know(self):
        b = self.box
        run = b.submit(batch([bash('touch began; sleep .3; exit 5')]))
        until(lambda: b.exists('began'), 'the op')
        os.kill(b.spawner_pid(), signal.SIGKILL)
        b.wait(run)
        op = b.get(run)['ops'][0]
        # batchd is the spawner's parent and a subreaper: it may well know. What nobody can know is interrupted.
        self.assertIn((op['state'], op['cause'], op['exit']), (('failed', 'exit', 5), ('interrupted', 'lost', None)))
        self.assertEqual(b.run(batch([bash('echo again')]))['state'], 'succeeded')

    def test_both_killed_and_what_was_printed_last_is_not_known_to_be_all(self):
        # It has ended and a child holds its pipe, so that both are there with its status in hand when they are killed.
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('sleep 300 & echo $! > child; echo out; touch began; read x < gate', detach=True)]))
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['pid'], 'the op')
        until(lambda: b.output(run, 1) == b'out\n', 'what it printed')
        pid, spawner = b.get(run)['ops'][0]['pid'], b.spawner_pid()
        os.kill(b.daemon_pid(), signal.SIGSTOP)
        with open(gate, 'w') as f:
            f.write('\n')
        until(lambda: not proc_stat(pid), 'the end of the op, and that the spawner knows it')
        b.kill_daemon()
        os.kill(spawner, signal.SIGKILL)
        until(lambda: not alive(spawner), 'the end of the spawner')
        b.start()
        b.wait(run)
        self.match({'state': 'succeeded', 'exit': 0, 'stdout_bytes': 4, 'error': lambda e: e and e.startswith('output may be missing')},
                   b.get(run)['ops'][0])

    def new_spawner(self, pid, streams=(1, 2)):
        """kill -9 of the spawner; the next one has the op's pipes."""
        b = self.box
        pipes, old = {os.readlink('/proc/%d/fd/%d' % (pid, n)) for n in streams}, b.spawner_pid()
        os.kill(old, signal.SIGKILL)

        def has():
            new = b.spawner_pid()
            with contextlib.suppress(OSError, TypeError):
                return new != old and pipes <= {os.readlink('/proc/%d/fd/%s' % (new, n)) for n in os.listdir('/proc/%d/fd' % new)}
        until(has, 'a spawner that has the pipes of the op')

    def leave(self, how):
        b = self.box
        if how == 'killed':
            b.kill_daemon()
        else:
            b.stop_quietly()

    @rows(('killed', 'killed', {}), ('stopped', 'stopped', {}), ('killed, and the op has a terminal', 'killed', {'pty': True}))
    def what_is_printed_after_both_have_gone_one_after_the_other(self, how, keys):
        # Nobody is left to know how the op ended; but it is not hindered, and all that it said is there.
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo before; touch began; read x < gate; seq 300; echo err >&2; touch printed', **keys)]))
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['pid'], 'the op')
        pid = b.get(run)['ops'][0]['pid']
        for _ in range(2):
            self.new_spawner(pid, () if keys else (1, 2))
        if keys:
            until(lambda: any(os.readlink('/proc/%d/fd/%s' % (b.spawner_pid(), n)).endswith('ptmx')
                              for n in os.listdir('/proc/%d/fd' % b.spawner_pid())), 'a spawner that has the terminal')
        self.leave(how)
        with open(gate, 'w') as f:
            f.write('\n')
        until(lambda: not alive(pid), 'the end of the op')
        self.assertTrue(b.exists('printed'))
        b.start()
        b.wait(run)
        self.match({'state': 'interrupted', 'cause': 'lost', 'error': None, 'pid': pid, 'started': lambda ms: ms, 'stdout_bytes': lambda n: n > 0},
                   b.get(run)['ops'][0])
        said = b''.join(b'%d\n' % i for i in range(1, 301))
        if keys:
            self.assertEqual(b.output(run, 1), (b'before\n' + said + b'err\n').replace(b'\n', b'\r\n'))
        else:
            self.assertEqual(b.output(run, 1, 'stdout'), b'before\n' + said)
            self.assertEqual(b.output(run, 1, 'stderr'), b'err\n')

    def test_a_stream_that_was_closed_before_and_one_that_is_not(self):
        b = self.box
        gate = b.fifo('gate')
        run = b.submit(batch([bash('echo out; exec >&-; touch began; read x < gate; echo err >&2')]))
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['pid'], 'the op')
        until(lambda: b.output(run, 1) == b'out\n', 'what it printed')
        pid = b.get(run)['ops'][0]['pid']
        self.new_spawner(pid, (2,))
        b.kill_daemon()
        with open(gate, 'w') as f:
            f.write('\n')
        until(lambda: not alive(pid), 'the end of the op')
        b.start()
        b.wait(run)
        self.assertEqual((b.output(run, 1, 'stdout'), b.output(run, 1, 'stderr')), (b'out\n', b'err\n'))

    def test_a_talker_is_read_on_by_whoever_comes(self):
        b = self.box
        run = b.submit(batch([bash('touch began; i=0; while [ ! -e go ]; do i=$((i+1)); echo $i; done; echo $i > count')]))
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['stdout_bytes'], 'the op')
        pid = b.get(run)['ops'][0]['pid']
        for how in ('killed', 'stopped'):
            self.new_spawner(pid)
            self.leave(how)
            b.start()
            size = b.get(run)['ops'][0]['stdout_bytes']
            until(lambda: b.get(run)['ops'][0]['stdout_bytes'] > size, 'more output')
        b.put('go')
        b.wait(run)
        self.assertEqual(b.output(run, 1), b''.join(b'%d\n' % (i + 1) for i in range(int(b.text('count')))))

    def test_output_that_was_read_to_its_end_is_known_to_be_all(self):
        b = self.box
        gate = b.fifo('gate')
        idle = self.open_pipes(b.daemon_pid())
        run = b.submit(batch([bash('echo out; touch began; read x < gate')]))
        until(lambda: b.exists('began') and b.get(run)['ops'][0]['pid'], 'the op')
        pid, spawner = b.get(run)['ops'][0]['pid'], b.spawner_pid()
        with contextlib.closing(sqlite3.connect(os.path.join(b.state, 'batchd.db'), isolation_level=None)) as db:
            db.execute('BEGIN IMMEDIATE')
            with open(gate, 'w') as f:
                f.write('\n')
            until(lambda: not proc_stat(pid), 'the end of the op, and that the spawner knows it')
            before = self.open_pipes(spawner)
            until(lambda: self.open_pipes(b.daemon_pid()) == idle, 'that batchd has read all')
            os.kill(spawner, signal.SIGKILL)
            until(lambda: b.spawner_pid() not in (None, spawner) and self.open_pipes(b.spawner_pid()) == before, 'a spawner with as much')
            b.kill_daemon()
        b.start()
        b.wait(run)
        self.match({'state': 'succeeded', 'exit': 0, 'stdout_bytes': 4, 'error': None}, b.get(run)['ops'][0])

    def open_pipes(self, pid):
        n = 0
        with contextlib.suppress(FileNotFoundError):
            for fd in os.listdir('/proc/%d/fd' % pid):
                with contextlib.suppress(FileNotFoundError):
                    n += int(fd) > 2 and os.readlink('/proc/%d/fd/%s' % (pid, fd)).startswith('pipe:')
        return n

    def test_ids_are_not_reused_beside_an_older_database(self):
        b = self.box
        db = os.path.join(b.state, 'batchd.db')
        first = b.run(batch([bash('true')]))['run']
        b.stop_quietly()
        shutil.copy(db, b.path('older'))
        b.start()
        held = b.submit(batch([bash('true')], held=True))
        b.stop_quietly()
        shutil.copy(b.path('older'), db)
        for _ in range(2):
            b.start()
            self.assertFalse(os.path.exists('%s/runs/%d.env' % (b.state, held)))
            b.stop_quietly()
        b.start()
        self.assertGreater(b.run(batch([bash('true')]))['run'], held)
        self.match({'state': 'succeeded'}, b.get(first))

    def test_both_killed(self):
        b = self.box
        run = b.submit(batch([bash('echo x >> ran; touch began; sleep .2')], [bash('true')]))
        until(lambda: b.exists('began'), 'the op')
        spawner = b.spawner_pid()
        b.kill_daemon()
        os.kill(spawner, signal.SIGKILL)
        until(lambda: not alive(spawner), 'the end of the spawner')
        b.start()
        b.wait(run)
        self.match({'state': lambda s: s in ('interrupted', 'succeeded')}, b.get(run))
        self.assertEqual(b.text('ran'), 'x\n', 'and it is not run twice')
        self.assertEqual(b.run(batch([bash('true')]))['state'], 'succeeded')


@expand
class Rebooted(Case):
    """The machine is started anew: no process, nothing in the runtime folder, another boot id."""

    def setUp(self):
        super().setUp()
        self.box.call('group.set', group='default', slots=2)

    def reboot(self, boot='another'):
        b = self.box
        processes = descendants(b.spawner_pid()) + [b.spawner_pid()]
        b.kill_daemon()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in processes), 'the end of the spawner and its ops')
        shutil.rmtree(b.runtime)
        os.mkdir(b.runtime, 0o700)
        with contextlib.closing(sqlite3.connect(os.path.join(b.state, 'batchd.db'))) as db:
            if boot:
                db.execute('UPDATE meta SET value = ? WHERE key = ?', (boot, 'boot'))
            db.commit()

    def began(self):
        return self.box.text('began').split() if self.box.exists('began') else []

    def goes_on(self, runs, most):
        """After the reboot at most so many of them are interrupted, all that had begun are, and the others are done, once."""
        b = self.box
        began = self.began()
        self.reboot()
        b.put('go')
        b.start()
        b.call('group.set', group='default', paused=False)
        states = {str(run): b.wait(run)['state'] for run in runs}
        interrupted = [run for run in states if states[run] == 'interrupted']
        self.assertLessEqual(set(began), set(interrupted))
        self.assertLessEqual(len(interrupted), most, states)
        self.assertEqual({states[run] for run in states if run not in interrupted}, {'succeeded'})
        self.assertCountEqual(self.began(), began + [run for run in states if states[run] == 'succeeded'])

    op = 'echo $BATCHD_RUN >> began; until [ -e go ]; do sleep .05; done'

    def test_a_queue_goes_on(self):
        b = self.box
        runs = [b.submit(batch([bash(self.op)])) for _ in range(30)]
        until(lambda: len(self.began()) == 2, 'the first two')
        self.goes_on(runs, most=4)

    def test_a_queue_whose_turn_came_before_goes_on(self):
        """Runs whose slots were taken by others when they were accepted, and free again later."""
        b = self.box
        first = [b.submit(batch([bash('until [ -e next ]; do sleep .05; done')])) for _ in range(2)]
        runs = [b.submit(batch([bash(self.op)])) for _ in range(30)]
        b.put('next')
        for run in first:
            b.wait(run)
        until(lambda: len(self.began()) == 2, 'the two after these')
        self.goes_on(runs, most=4)

    def test_what_it_had_printed_is_there(self):
        b = self.box
        run = b.submit(batch([bash('echo some; touch began; exec sleep 60')]))
        until(lambda: b.exists('began') and b.output(run, 1), 'what it prints')
        self.reboot()
        b.start()
        b.wait(run)
        self.match([{'state': 'interrupted', 'cause': 'lost', 'exit': None, 'attempts': 1, 'stdout_bytes': 5}], b.get(run)['ops'])
        self.assertEqual(b.output(run, 1), b'some\n')

    @rows(('of its only try', 'exec sleep 60', 1), ('of its second try', '[ -e x ] && exec sleep 60; touch x; sleep .5; exit 3', 2))
    def when_it_began_is_known(self, command, attempts):
        b = self.box
        run = b.submit(batch([bash(command, retries=1, retry_delay=0)]))
        until(lambda: b.stored_op(run)[0] == attempts, 'the row of its last try')
        known = {name: b.get(run)['ops'][0][name] for name in ('attempts', 'pid', 'started')}
        self.assertEqual(b.stored_op(run), (attempts, known['pid'], known['started']))
        self.reboot()
        b.start()
        b.wait(run)
        self.match([{'state': 'interrupted', 'cause': 'lost', 'exit': None, 'ended': None, 'duration_ms': None, **known}], b.get(run)['ops'])

    def test_without_a_reboot_what_is_known_to_have_begun_does_not_begin_again(self):
        """Somebody has emptied the runtime folder, and killed all: nothing but the database knows."""
        b = self.box
        run = b.submit(batch([bash('echo $BATCHD_RUN >> began; exec sleep 60')]))
        b.stored_op(run)
        self.reboot(boot=None)
        b.start()
        self.assertEqual(b.wait(run)['state'], 'interrupted')
        self.assertEqual(self.began(), [str(run)])

    def test_a_paused_pool_goes_on(self):
        b = self.box
        b.call('group.set', group='default', paused=True)
        runs = [b.submit(batch([bash(self.op)])) for _ in range(5)]
        self.goes_on(runs, most=0)


@expand
class Unanswered(Case):
    """batchd is killed with a submit in hand: with a key batchctl sends it again by itself, and there is one run."""

    def killed(self, *args, at='pwrite64', input=b'', start=False):
        """Killed `at` this call of the commit; the next one is started by us, else batchctl does that."""
        b = self.box
        if no_inject():
            self.skipTest(no_inject())
        fault = Inject(b.daemon_pid(), at + ':signal=SIGKILL:when=1')
        self.addCleanup(fault.stop)
        p = b.ctl_start(*args, stdin=subprocess.PIPE)
        p.stdin.write(input)
        p.stdin.close()
        p.stdin = None
        self.assertEqual(b.daemon.wait(20 * SLOW), -signal.SIGKILL)
        b.daemon = None
        b.disconnect()
        if start:
            b.start()
        out, err = p.communicate(timeout=30 * SLOW)
        return p.returncode, out.decode(), err.decode()

    def ran_once(self, out):
        """There is one run, it is the one that was said, and it was done once. Its number may be another than the first: the one of
        a run that was about to be stored is not given again while files of it are there."""
        (n,) = [r['run'] for r in self.box.call('run.list')['runs']]
        self.assertIn(out, ('', '%d\n' % n))
        self.box.wait(n)
        self.assertEqual(self.box.text('ran'), 'x\n')

    @rows(*[('%s, %s' % (name, when), args, at) for name, args in (
        ('submit', ['submit', '--key', 'k', '-e', 'echo x >> ran']),
        ('submit of a file with a key in it', ['submit', '-']),
        ('submit that goes on', ['submit', '-w', '--key', 'k', '-e', 'echo x >> ran']),
        ('submit with a delay', ['submit', '--key', 'k', '--delay', '100ms', '-e', 'echo x >> ran']),
        ('add', ['add', '--key', 'k', '--', 'echo x >> ran']),
        ('run', ['run', '--key', 'k', '--', 'echo x >> ran']),
    ) for at, when in (('pwrite64', 'not stored'), ('fdatasync', 'stored and not told'))])
    def is_sent_again(self, args, at):
        status, out, err = self.killed(*args, at=at, input=b'Batch { key: "k" }\nBash("echo x >> ran")\n')
        self.assertEqual((status, bool(out)), (0, args[0] != 'run'), err)
        self.assertNotIn('used before', err)
        self.ran_once(out)

    def test_without_a_key_nobody_can_know(self):
        status, out, err = self.killed('submit', '-e', 'true')
        self.assertEqual((status, out), (125, ''))
        self.assertIn('went away before it answered', err)

    def test_only_to_the_daemon_that_had_it(self):
        # Another state folder does not know the key: sent there it would run a second time.
        b = self.box
        b.stop_quietly()
        b.state, usual = b.path('elsewhere'), b.state
        shutil.rmtree(usual)
        b.start()
        status, out, err = self.killed('submit', '--key', 'k', '-e', 'echo x >> ran', at='fdatasync', start=True)
        self.assertEqual((status, bool(out)), (0, True), err)
        self.ran_once(out)
        self.assertFalse(os.path.exists(usual))


class Secrets(Case):
    def test_env_base_is_kept_only_until_the_run_has_ended(self):
        b = self.box
        secret = 'hunter2-' + 'x' * 20
        run = b.submit(batch([bash('touch began; sleep .1; test -n "$SECRET"')]), env_base=b.env(SECRET=secret))
        b.wait(run)
        self.assertEqual(b.get(run)['state'], 'succeeded')

        def found():
            return [os.path.join(d, n) for d, _, names in os.walk(b.state) for n in names
                    if secret.encode() in open(os.path.join(d, n), 'rb').read()]
        until(lambda: not found(), 'that the secret is gone from %r' % found())

    def test_files_are_for_the_owner_only(self):
        b = self.box
        b.run(batch([bash('echo x')]))
        for d, names, files in os.walk(b.state):
            for n in names + files:
                mode = os.lstat(os.path.join(d, n)).st_mode
                self.assertFalse(mode & 0o077 and os.stat(b.state).st_mode & 0o077, os.path.join(d, n))


class Stopped(Case):
    def test_file_ops_that_have_begun_end_before_it_and_the_others_after_it(self):
        # Done again, an append or an edit would not be the same: what may have begun could only be called lost.
        b = self.box
        for k in range(4):
            names = ['f%d-%d' % (k, i) for i in range(400)]
            run = b.submit(batch([write(n, 'x\n', append=True) for n in names]))
            until(lambda: b.exists(names[3]), 'some of them')
            b.call('daemon.stop')
            b.disconnect()
            self.assertEqual(b.daemon.wait(20 * SLOW), 0)
            b.start()
            b.wait(run)
            self.match({'state': 'succeeded', 'summary': {'succeeded': 400, 'interrupted': 0}}, b.get(run))
            self.assertEqual({b.text(n) for n in names}, {'x\n'})


class Errors(Case):
    def test_a_stopping_daemon_refuses_or_closes_but_never_forgets(self):
        b = self.box
        r = b.connect()
        answered = []
        b.call('daemon.stop')
        try:
            while True:
                answered.append(r.call('batch.submit', batch=dict(batch([bash('true')]), cwd=b.work))['run'])
        except (OSError, Closed, RpcError):
            pass
        b.disconnect()
        b.daemon.wait(20 * SLOW)
        b.daemon = None
        b.start()
        for run in answered:
            b.wait(run)


if __name__ == '__main__':
    unittest.main()
