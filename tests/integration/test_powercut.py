"""
The power is cut: a workload is recorded with every write and sync of batchd in it, and then the machine "fails" at any moment of
that recording, with any of the unsynced writes there, missing or torn (disk.py has the rules). On each such disk a new batchd starts
after a "reboot", and whatever had been told to a client before the cut must hold.

BATCHD_TEST_LONG=1 tries two thousand cuts instead of a few dozen; BATCHD_TEST_SEED chooses others.
"""
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import unittest
from collections import Counter

import msgpack

from disk import STRACE, Disk, read_trace
from harness import BATCHD, ENDED, LONG, NO_LEAKS, SPAWNER, Case, alive, bash, batch, descendants, edit, process_name, strace_works, until, write
from history import ENDED, History
from rpc import RpcError

CUTS = 2000 if LONG else 40
SEED = int(os.environ.get('BATCHD_TEST_SEED', '1'))
RUNS = 6
TREE = 20       # files written together
SW_START = 3


class Told:
    """What clients had been told, and the spawner had been asked for, up to some event of the recording."""

    def __init__(self):
        self.runs = set()       # accepted
        self.ops = {}           # (run, index): (state, exit)
        self.ended = {}         # run: state
        self.cancelled, self.forgotten = set(), set()
        self.todo_rev, self.slots = 0, None
        self.started = set()    # 'RUN.OP.ATTEMPT' of each START sent
        self.unpackers, self.spawner = {}, None

    def sent(self, where, data):
        if self.spawner is None and data[:6] == struct.pack('<IH', 32, 1):
            self.spawner = where
        if where == self.spawner:
            return self.frames(data)
        unpacker = self.unpackers.setdefault(where, msgpack.Unpacker(raw=False, unicode_errors='surrogateescape', strict_map_key=False))
        unpacker.feed(data)
        for m in unpacker:
            if m[0] == 1 and m[2] is None and isinstance(m[3], dict):
                self.reply(m[3])
            elif m[0] == 2:
                self.event(m[2][-1])

    def frames(self, data):
        while len(data) >= 16:
            size, kind, _, token = struct.unpack_from('<IHHQ', data)
            if kind == SW_START:
                self.started.add('%d.%d.%d' % (token >> 32, (token >> 12 & 0xfffff) + 1, token & 0xfff))
            data = data[size:]

    def reply(self, r):
        if 'existing' in r:
            self.runs.add(r['run'])
        elif 'others' in r:
            self.todo_rev = max(self.todo_rev, r['rev'])
        elif 'slots' in r and r.get('group') == 'pool':
            self.slots = r['slots']
        elif 'forgotten' in r:
            self.forgotten.add(max(self.runs))
        elif 'run' in r and r.get('name') == 'cancelled':     # only run.cancel answers about that one
            self.cancelled.add(r['run'])
        elif r.get('state') in ENDED:
            self.ended[r['run']] = r['state']

    def event(self, e):
        if e['type'] == 'op.state' and e['state'] in ENDED + ('skipped',):
            self.ops[e['run'], e['op']] = e['state'], e['exit']
        elif e['type'] == 'run.state' and e['state'] in ENDED:
            self.ended[e['run']] = e['state']


@unittest.skipUnless(strace_works(), 'strace is not installed, or may not trace here')
class PowerCut(Case):
    daemon = False

    def setUp(self):
        super().setUp()
        self.random = random.Random(SEED)

    def record(self):
        """Runs the workload; leaves the disk as it was before, the events, and the history of what was asked."""
        b = self.box
        os.makedirs(os.path.dirname(b.socket), 0o700)
        history, disk, trace = History(b), Disk(b.dir), b.dir + '.trace'
        self.addCleanup(lambda: os.path.exists(trace) and os.unlink(trace))
        with open(b.log, 'ab') as log:
            def go(*argv):
                return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=b.env(**NO_LEAKS), cwd=b.dir)
            # Nothing that the spawner has needs to outlive a power cut, so it is not recorded.
            go(SPAWNER, '--socket', b.socket + '.spawner')
            until(lambda: os.path.exists(b.socket + '.spawner'), 'the spawner')
            tracer = go(*STRACE, trace, BATCHD, '--foreground', '--socket', b.socket, '--state-dir', b.state)
            until(b.answers, 'batchd')
        watcher = b.connect()
        watcher.call('run.subscribe')
        for n in range(RUNS):
            history.submit(n, b.rpc)
            b.call('todo.write', list='mine', mode='merge', todos=[{'id': 'item%d' % n, 'content': 'item %d' % n}])
        b.call('group.set', group='pool', slots=7)
        cancelled = b.submit(batch([bash('sleep 30'), bash('sleep 31')], [bash('true')], name='cancelled'))
        b.call('run.cancel', run=cancelled)
        b.submit(batch([write('lines', 'one\n'), write('edited', 'old')], [write('lines', 'two\n', append=True), edit('edited', 'old', 'new')],
                       name='files'))
        b.submit(batch([write('tree/%d/%d' % (i % 3, i), 'file %d\n' % i * 100) for i in range(TREE)], name='tree'))
        history.settle()
        self.last = b.run(batch([bash('seq 1000')]))['run']
        b.call('run.forget', run=self.last)
        b.stop_quietly()
        tracer.wait()
        events = list(read_trace(trace, b.dir))
        return disk, events, history

    def begin_anew(self, disk, keep):
        """The box with what the disk has of it after the cut, and no process left."""
        b = self.box
        for pid in descendants(os.getpid()):
            if process_name(pid) == 'batchd-spawner':
                os.kill(pid, 9)
                until(lambda: not alive(pid), 'the end of the spawner')
        for path in (b.state, b.work, b.runtime):
            shutil.rmtree(path, ignore_errors=True)
            os.makedirs(path, 0o700)
        for path in (b.state, b.work):
            disk.crash(self.random, keep, path)
        shutil.rmtree(b.path('effects'), ignore_errors=True)    # made by ops; whether they sync is theirs
        os.makedirs(b.path('effects'))
        os.makedirs(b.path('.batchd'), exist_ok=True)
        database = os.path.join(b.state, 'batchd.db')
        if os.path.exists(database):        # and the machine has been started anew
            db = sqlite3.connect(database)
            try:
                if db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'meta'").fetchone()[0]:
                    db.execute("UPDATE meta SET value = 'another' WHERE key = 'boot'")
                    db.commit()
                self.assertEqual(db.execute('PRAGMA integrity_check').fetchone()[0], 'ok')
            finally:
                db.close()

    def is_forgotten(self, run):
        try:
            self.box.get(run)
            return False
        except RpcError as e:
            self.assertIn('E_NOT_FOUND', str(e))
            return True

    def holds(self, told, history):
        """All that was told holds, and nothing was done twice."""
        b = self.box
        runs, forgotten = {}, set(told.forgotten)
        if self.last in told.ended and self.is_forgotten(self.last):
            forgotten.add(self.last)    # which need not have been told yet
        for run in sorted(told.runs - forgotten):
            if b.get(run)['name'] == 'cancelled' and run not in told.cancelled and b.get(run)['state'] not in ENDED:
                b.call('run.cancel', run=run, now=True)     # nobody was told that it is: it goes on, for long
            b.wait(run)
            runs[run] = b.get(run)
        for run in forgotten:
            self.refused('E_NOT_FOUND', 'run.get', {'run': run})
        for run in told.cancelled:
            self.assertEqual(runs[run]['state'], 'cancelled')
        if told.slots:
            self.assertIn((told.slots, 'pool'), [(g['slots'], g['group']) for g in b.call('group.list')['groups']])
        for run, state in told.ended.items():
            if run in forgotten:
                continue
            self.assertEqual(runs[run]['state'], state, 'run %d was told to have ended so' % run)
        for (run, index), (state, code) in told.ops.items():
            if run in forgotten:
                continue
            op = runs[run]['ops'][index - 1]
            self.assertEqual((op['state'], op['exit']), (state, code), op)
        if told.todo_rev:
            self.assertGreaterEqual(b.call('todo.list', list='mine')['rev'], told.todo_rev)
        for name in os.listdir(b.path('effects')):
            lines = b.text('effects', name).split()
            self.assertEqual(len(lines), len(set(lines)), name)
            self.assertFalse(set(lines) & told.started, 'an attempt that had been started was started again')
        for run, r in runs.items():
            for op in r['ops']:
                self.op_holds(r, op, history.acked.get(run), (run, op['index']) in told.ops)
            if r['name'] == 'files':
                self.files_hold(r)
            if r['name'] == 'tree':
                for i, op in enumerate(r['ops']):
                    self.assertEqual(op['state'], 'succeeded', op)
                    self.assertEqual(b.text('tree', str(i % 3), str(i)), 'file %d\n' % i * 100)
        new = b.submit(batch([bash('true')]))
        self.assertGreater(new, max(told.runs, default=0), 'a number was given twice')
        self.assertEqual(b.wait(new)['state'], 'succeeded')
        lost = ['%d.%d.%d' % (run, op['index'], op['attempts']) for run, r in runs.items() for op in r['ops'] if op['state'] == 'interrupted']
        return len(lost), len(set(lost) - told.started)

    def files_hold(self, run):
        """Its appends and edits have been done once where they succeeded, and not in part where they did not."""
        done = [op['state'] == 'succeeded' for op in run['ops']]
        for k, path, before, after in ((0, 'lines', b'one\n', b'one\ntwo\n'), (1, 'edited', b'old', b'new')):
            if done[k + 2]:
                self.assertEqual(self.box.bytes(path), after, run)
            elif done[k]:
                self.assertIn(self.box.bytes(path), (before, after), run)

    def op_holds(self, run, op, tag, was_told):
        where = 'run %d op %d: %r' % (run['run'], op['index'], op)
        if run['state'] == 'cancelled':
            self.assertIn(op['state'], ('cancelled', 'interrupted'), where)
        elif tag is None:
            self.assertIn(op['state'], ('succeeded', 'skipped', 'interrupted'), where)
        elif op['state'] == 'succeeded' and op['kind'] == 'write':
            self.assertEqual(self.box.text(tag, 'ab'[op['index'] == 8]), tag * 300, where)
        elif op['state'] == 'succeeded' and op['kind'] == 'bash':
            History.check_output(self.box, run['run'], op, tag)
        elif op['state'] == 'interrupted':
            self.assertEqual(op['cause'], 'lost', where)
            self.assertFalse(was_told, where)
        else:
            self.assertIn(op['state'], ('succeeded', 'skipped'), where)

    def test_whatever_was_told_holds(self):
        disk, events, history = self.record()
        cuts = sorted(self.random.sample(range(len(events)), min(CUTS, len(events))))
        told, at, seen = Told(), 0, Counter()
        for cut in cuts:
            for event in events[at:cut + 1]:
                if event[0] == 'sent':
                    told.sent(*event[1:])
                else:
                    disk.apply(event)
            at = cut + 1
            keep = self.random.choice((0, 0.5, 0.5, 1))
            with self.subTest('cut at event %d of %d, %r, keeping %g (seed %d)' % (cut, len(events), events[cut][:2], keep, SEED)):
                self.begin_anew(disk, keep)
                self.box.start()
                lost, never_started = self.holds(told, history)
                seen.update(runs=len(told.runs), interrupted=lost, never_started=never_started)
                self.assertEqual(self.box.stop_quietly(), 0)
        print('%d cuts in %d events, %r' % (len(cuts), len(events), dict(seen)))


if __name__ == '__main__':
    unittest.main()
