"""Rows about large batches: scale, accept."""
import os
import time

import msgpack

from harness import ENDED, batch, exec_, read
from measure import Line, alternate, cpu_ns, figure, forget_peak, median, memory, ratios, seconds
from rows_ops import an_op
from world import PATIENCE, World

SMALL = 1000
TEXT = len(msgpack.packb(exec_('/bin/true')))       # what an op of these batches is on the wire


class Big:
    """One size of batch in one world, and what the steps of its life take."""

    def __init__(self, world, n):
        self.world, self.n = world, n
        self.file = world.batch_file('%d.json' % n, batch([exec_('/bin/true')] * n))
        self.reads = world.batch_file('%d.reads.json' % n, batch([read('empty')] * n))
        world.put('empty')
        self.daemon_bytes, self.client_bytes = [], []
        self.resident = memory(world.daemon_pid())['VmRSS']

    def times(self):
        """Small ones several times: one commit of 1 000 ops is over too soon to be told from chance."""
        return 5 if self.n <= SMALL else 1

    def held(self):
        """Accepted and cancelled without running any: seconds of both."""
        submit = cancel = 0
        for _ in range(self.times()):
            pid = self.world.daemon_pid()
            self.world.settle(pid)
            forget_peak(pid)
            took = self.world.ctl_time('submit', '--hold', '-q', self.file)
            self.daemon_bytes.append((memory(pid)['VmHWM'] - self.resident) / self.n)
            self.client_bytes.append(took.peak)
            run = self.world.call('run.list', limit=1)['runs'][0]['run']
            begun = time.perf_counter()
            self.world.call('run.cancel', {'run': run, 'now': True}, timeout=PATIENCE)
            if self.world.call('run.get', run=run, ops='none')['state'] not in ENDED:
                self.world.wait(run, PATIENCE)
            submit, cancel = submit + took.wall, cancel + time.perf_counter() - begun
            self.world.call('run.forget', {'run': run}, timeout=PATIENCE)
        return submit / self.times(), cancel / self.times()

    def run(self, path):
        """Submitted and waited for: seconds."""
        took = [self.world.ctl_time('submit', '--wait', '-q', path).wall for _ in range(self.times())]
        self.world.settle(self.world.daemon_pid())
        return (sum(took) / len(took),)


def beyond(got):
    """{Big: seconds an op, of each step a list} of what was measured, what the batch of one took taken off."""
    one = next(big for big in got if big.n == 1)
    return {big: [[(t - fixed) / big.n for t, fixed in zip(took, took_one)] for took, took_one in zip(zip(*got[big]), zip(*got[one]))]
            for big in got if big is not one}


def compare(what, an_op_of, small, large, step=0):
    a, b = an_op_of[small][step], an_op_of[large][step]
    return Line('scale', '%s: %d against %d' % (what, large.n, small.n), ratios(b, a), ('<=', 1.1), an_op(b, 1), an_op(a, 1))


def scale_world(o, large):
    """
    The lines of one large size against 1 000, each round the small one first; what a batch of one takes is no part of either. A world
    of its own, so that its memory is its own.
    """
    with World() as w:
        w.start()
        small, big, one = Big(w, SMALL), Big(w, large), Big(w, 1)
        held = beyond(alternate(o.rounds, {one: one.held, small: small.held, big: big.held}))
        reads = beyond(alternate(o.rounds, {b: lambda b=b: b.run(b.reads) for b in (one, small, big)}, warm=False))
        runs = None
        if large <= 100000:
            runs = beyond(alternate(o.rounds, {b: lambda b=b: b.run(b.file) for b in (one, small, big)}, warm=False))
    for i, what in enumerate(('accept held', 'cancel')):
        yield compare(what, held, small, big, i)
    yield compare('file ops to their end', reads, small, big)
    if runs:
        yield compare('commands to their end', runs, small, big)
    yield Line('scale', 'memory of batchd, %d ops' % large, [b - TEXT for b in big.daemon_bytes], ('<', 200),
               'beyond the %d bytes of its own text' % TEXT, 'an op, at the peak of accepting', ' B')
    own = median(one.client_bytes)
    yield Line('scale', 'memory of batchctl, %d ops' % large, [(b - own) / large for b in big.client_bytes], ('<', 1024),
               '', 'an op, at its peak, beyond a batch of one', ' B')


def scale(o):
    """batches of 1 000, 100 000 and 1 000 000 ops"""
    for large in (100000, 1000000):
        yield from scale_world(o, max(SMALL * 2, o.count(large)))


def accept(o):
    """a batch of 10 000 ops, accepted durably, held"""
    n = o.count(10000)
    with World() as w:
        w.start()
        frame = {'cwd': w.work, 'env_base': w.env(), 'held': True, 'messages': [{'ops': [exec_('/bin/true')] * n}]}
        request = msgpack.packb([0, 1, 'batch.submit', [{'batch': frame}]])
        pid, cpu = w.daemon_pid(), []

        def bare():
            """The same bytes, written to a file and on the disk."""
            path = os.path.join(w.state, 'bare')
            begun = time.perf_counter()
            with open(path, 'wb', buffering=0) as f:
                f.write(request)
                os.fsync(f.fileno())
            took = time.perf_counter() - begun
            os.unlink(path)
            return took

        def ours():
            with w.connect() as c:
                w.settle(pid)
                before, begun = cpu_ns(pid), time.perf_counter()
                c.send_bytes(request)
                run = c.reply(1, PATIENCE)['run']
                wall = time.perf_counter() - begun
                w.settle(pid)
                now = cpu_ns(pid)
                cpu.append({t: now[t] - before.get(t, 0) for t in now})
                c.call('run.cancel', {'run': run, 'now': True})
                w.wait(run)
                c.call('run.forget', {'run': run})
            return wall
        got = alternate(o.rounds, {'bare': bare, 'ours': ours})
    total = [sum(c.values()) / 1e6 for c in cpu[1:]]
    loop = [c[pid] / 1e6 for c in cpu[1:]]
    yield Line('accept', 'CPU of batchd for the batch', total, ('<', 50), '%s us an op' % figure(median(total) * 1e3 / n),
               'loop %s ms, other threads %s ms' % (figure(median(loop)), figure(median(total) - median(loop))), ' ms')
    yield Line('accept', 'wall time to the answer', [t * 1e3 for t in got['ours']], ('<', 50), seconds(median(got['ours'])), '', ' ms')
    yield Line('accept', 'against writing its bytes and fsync', ratios(got['ours'], got['bare']), None,
               seconds(median(got['ours'])), seconds(median(got['bare'])), 'x', 'the request has %d bytes' % len(request))


ROWS = {'scale': scale, 'accept': accept}
