"""Rows about bytes: files, output."""
import itertools
import os

from harness import BATCHCTL, bash, batch, write
from measure import Line, alternate, cpu_total, forget_peak, median, memory, ratios, seconds
from world import World

FILES = 20000
FOLDER = 100        # files in each folder
MIB = 1 << 20


def content(i):
    """1 KiB that is not the same twice."""
    return ('%06d ' % i + 'batchd writes files ' * 60)[:1023] + '\n'


def files(o):
    """20 000 write ops of 1 KiB"""
    n = o.count(FILES)
    with World() as w:
        w.start()
        names = ['%03d/%05d' % (i // FOLDER, i) for i in range(n)]
        for i, name in enumerate(names):
            w.put('source/' + name, content(i))
        path = w.batch_file('files.json', batch([write('made/' + name, content(i)) for i, name in enumerate(names)]))
        w.shell('cd source && tar cf ../source.tar .')

        fresh = itertools.count()

        def into(*argv):
            """
            Makes the tree `made` in a folder of its own: one that stands where another was deleted would be spread over the holes that
            left. Nobody pays for what another one left to be written.
            """
            def side():
                folder = w.path('fresh.%d' % next(fresh))
                os.mkdir(folder)
                w.quiet()
                took = w.time(*argv, cwd=folder)
                assert sum(len(f) for _, _, f in os.walk(os.path.join(folder, 'made'))) == n
                return took.wall
            return side
        tar = 'mkdir made && tar xf ../source.tar -C made'
        got = alternate(o.rounds, {
            'tar': into('/bin/bash', '-c', tar),
            'cp': into('cp', '-r', '../source', 'made'),
            'ours': into(BATCHCTL, 'submit', '--wait', '-q', path),
            'synced': into('/bin/bash', '-c', tar + ' && sync -f made'),
        }, warm=False)
    for name, what in (('tar', 'tar x'), ('cp', 'cp -r')):
        yield Line('files', 'against %s, which is not on the disk then' % what, ratios(got[name], got['ours']), ('>=', 1),
                   seconds(median(got['ours'])), seconds(median(got[name])))
    yield Line('files', 'against tar x and sync', ratios(got['synced'], got['ours']), None,
               seconds(median(got['ours'])), seconds(median(got['synced'])))


class Output:
    """A batch that prints much, against the same commands into `cat > FILE`."""

    def __init__(self, world, ops, bytes_each):
        self.world, self.ops, self.bytes = world, ops, bytes_each
        self.command = 'head -c %d /dev/zero' % bytes_each
        self.file = world.batch_file('output.json', batch([bash('exec ' + self.command)] * ops, output_cap=0))
        self.peaks, self.cpu = [], []

    def cat(self, after=''):
        def side():
            self.world.quiet()
            took = self.world.shell('seq %d | xargs -P8 -I{} bash -c "%s | cat > cat.{}"; %s' % (self.ops, self.command, after))
            for i in range(self.ops):
                os.unlink(self.world.path('cat.%d' % (i + 1)))
            return took.wall
        return side

    def ours(self):
        self.world.quiet()
        pid = self.world.daemon_pid()
        forget_peak(pid)
        rss, cpu = memory(pid)['VmRSS'], cpu_total(pid)
        took = self.world.ctl_time('submit', '--wait', '-q', self.file)
        self.cpu.append(cpu_total(pid) - cpu)
        self.peaks.append((memory(pid)['VmHWM'] - rss) / MIB)
        run = self.world.call('run.list', limit=1)['runs'][0]['run']
        got = self.world.call('run.get', run=run)
        assert sum(op['stdout_bytes'] for op in got['ops']) == self.ops * self.bytes, got['summary']
        self.world.call('run.forget', run=run)
        return took.wall

    def lines(self, o, what):
        got = alternate(o.rounds, {'cat': self.cat(), 'ours': self.ours, 'synced': self.cat('sync cat.*')}, warm=False)
        note = 'CPU of batchd %s a GiB' % seconds(median(self.cpu) * (1 << 30) / (self.ops * self.bytes))
        yield Line('output', what + ', against cat > FILE', ratios(got['cat'], got['ours']), ('>=', 0.9),
                   seconds(median(got['ours'])), seconds(median(got['cat'])), note=note)
        yield Line('output', what + ', against cat > FILE and fsync', ratios(got['synced'], got['ours']), None,
                   seconds(median(got['ours'])), seconds(median(got['synced'])))
        yield Line('output', what + ', memory of batchd grows by', self.peaks, ('<', 1), '', '', ' MiB')


def output(o):
    """1 GiB from one op; 64 ops that print 16 MiB each"""
    with World() as w:
        w.start()
        yield from Output(w, 1, o.count(1 << 30)).lines(o, '1 GiB')
        yield from Output(w, 64, o.count(16 * MIB)).lines(o, '64 x 16 MiB')


ROWS = {'files': files, 'output': output}
