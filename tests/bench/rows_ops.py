"""Rows about running commands: noop, bash, chain, run."""
import os
import shutil

from harness import BATCHCTL, bash, batch, exec_
from measure import Line, alternate, best, cpu_ns, cpu_shares, cpu_total, figure, median, note, quantile, ratios, seconds
from world import World

PARALLEL = 8
OPS = 5000
PEER_OPS = 1000     # enough for neighbours, which take many times as long
TSP = 'export TS_SOCKET=$PWD/ts TS_SLOTS=%d TS_MAXFINISHED=%d;' % (PARALLEL, PEER_OPS)


class Ours:
    """`batchctl submit --wait -q` again and again, the whole process to the prompt, and what CPU all of it took."""

    def __init__(self, world, b, ops):
        self.world, self.ops = world, ops
        self.file = world.batch_file('ours.json', b)
        self.daemon = world.daemon_pid()
        self.client = []        # of each batchctl a Took
        self.submit()           # the first has to start the spawner
        self.before = self.read()

    def submit(self):
        return self.world.ctl_time('submit', '--wait', '-q', '-j', PARALLEL, self.file)

    def side(self):
        took = self.submit()
        self.client.append(took)
        return took.wall, self.everything()

    def everything(self):
        """CPU seconds so far of all: batchd, batchd-spawner, the ops, batchctl."""
        spawner = self.world.spawner_pid()
        return (cpu_total(self.daemon) + cpu_total(spawner) + sum(cpu_shares(spawner)[2:])
                + sum(t.user + t.system for t in self.client))

    def read(self):
        spawner = self.world.spawner_pid()
        return {'start': self.everything(), 'batchd': cpu_ns(self.daemon), 'spawner': cpu_ns(spawner),
                'shares': {'batchd': cpu_shares(self.daemon), 'spawner': cpu_shares(spawner)}}

    def an_op(self):
        """One line: microseconds of CPU an op of each process, its threads, and user/system by ticks."""
        now, was, ops = self.read(), self.before, self.ops * len(self.client)
        used = {t: (ns - was['batchd'].get(t, 0)) / 1e3 / ops for t, ns in now['batchd'].items()}
        spawner = (sum(now['spawner'].values()) - sum(was['spawner'].values())) / 1e3 / ops
        split = {name: '/'.join(figure((x - y) * 1e6 / ops) for x, y in list(zip(now['shares'][name], was['shares'][name]))[:2])
                 for name in now['shares']}
        others = sorted((v for t, v in used.items() if t != self.daemon), reverse=True)
        return 'us of CPU an op: batchd %s (user/sys %s; loop %s, other threads %s), batchd-spawner %s (%s), batchctl %s (%s/%s)' % (
            figure(sum(used.values())), split['batchd'], figure(used[self.daemon]),
            ' '.join(figure(v) for v in others if v >= 0.05) or '0', figure(spawner), split['spawner'],
            *[figure(sum(f(t) for t in self.client) * 1e6 / ops) for f in (lambda t: t.user + t.system, lambda t: t.user, lambda t: t.system)])


def against_loops(o, row, ours, limits, goal, others=()):
    """Measures, and gives the lines against the best of the bare loops; and what others took, by name."""
    others = dict(others)
    got = alternate(o.rounds, {**limits, 'ours': ours.side, **others}, warm=False)
    wall = [t for t, _ in got['ours']]
    ends = [ours.before['start']] + [end for _, end in got['ours']]
    cpu = [b - a for a, b in zip(ends, ends[1:])]
    limit = best(*[[t.wall for t in got[name]] for name in limits])
    limit_cpu = best(*[[t.user + t.system for t in got[name]] for name in limits])
    n = ours.ops
    return [Line(row, 'against the best bare loop', ratios(limit, wall), ('>=', goal), an_op(wall, n), an_op(limit, n), note=ours.an_op()),
            Line(row, 'CPU of all, against the same', ratios(limit_cpu, cpu), None, an_op(cpu, n), an_op(limit_cpu, n))
            ], wall, {name: got[name] for name in others}


def loops(world, ops, *argv, captured=False):
    """The bare loops, with 1..cores forkers, never more than 8."""
    return {'%d forkers' % n: lambda n=n: world.loop(ops, PARALLEL, n, *argv, captured=captured)
            for n in range(1, min(os.cpu_count(), PARALLEL) + 1)}


def peers(world, ops):
    """{name: function} of those that are installed: the same work in their own notation."""
    arguments = world.put('arguments', ''.join('%d\n' % i for i in range(ops)))
    world.put('Makefile', 'all:%s\n%s' % (''.join(' t%d' % i for i in range(ops)),
                                          ''.join('t%d:\n\t@/bin/true\n' % i for i in range(ops))))
    world.put('build.ninja', 'rule true\n  command = /bin/true\n' + ''.join('build t%d: true\n' % i for i in range(ops)))
    tsp = TSP + ('for i in $(seq %d); do tsp -n /bin/true > id; done; for i in $(seq $(($(cat id) - %d)) $(cat id)); do tsp -w $i; done; '
                 'tsp -C' % (ops, PARALLEL - 1))
    found = {
        'xargs': lambda: world.time('xargs', '-P', PARALLEL, '-n', 1, '/bin/true', stdin=arguments),
        'make': lambda: world.time('make', '-s', '-j', PARALLEL),
        'ninja': lambda: world.time('ninja', '--quiet', '-j', PARALLEL),
        'parallel': lambda: world.shell('seq %d | parallel -j%d /bin/true' % (ops, PARALLEL)),
        'tsp': lambda: world.shell(tsp),
    }
    for program in found:
        if not shutil.which(program):
            note('noop: no %s here: run --install' % program)
    return {name + ' -j8': lambda side=side: side().wall for name, side in found.items() if shutil.which(name)}


def noop(o):
    """5 000 times /bin/true, 8 at a time"""
    n, fewer = o.count(OPS), o.count(PEER_OPS)
    with World() as w:
        w.start()
        ours = Ours(w, batch([exec_('/bin/true')] * n), n)
        lines, wall, others = against_loops(o, 'noop', ours, loops(w, n, '/bin/true'), 0.95, peers(w, fewer))
        w.shell('! command -v tsp >/dev/null || { %s tsp -K; }' % TSP)
    yield from lines
    for name, took in others.items():
        theirs = [t * n / fewer for t in took]
        yield Line('noop', 'against ' + name, ratios(theirs, wall), None, an_op(wall, n), an_op(theirs, n))


def an_op(values, ops):
    return seconds(median(values) / ops) + ' an op'


def bash_row(o):
    """5 000 times bash, output kept, 8 at a time"""
    command, n = 'echo $((1+1))', o.count(OPS)
    with World() as w:
        w.start()
        ours = Ours(w, batch([bash(command)] * n), n)
        yield from against_loops(o, 'bash', ours, loops(w, n, '/bin/bash', '-c', command, captured=True), 1.0)[0]


def chain(o):
    """1 000 ops, each needing the one before"""
    n = o.count(1000)
    ops = [exec_('/bin/true', id='o%d' % i, **({'needs': ['o%d' % (i - 1)]} if i else {})) for i in range(n)]
    with World() as w:
        w.start()
        limit = {'one after the other': lambda: w.loop(n, 1, 1, '/bin/true')}
        yield from against_loops(o, 'chain', Ours(w, batch(ops), n), limit, 0.9)[0]


class Single(Ours):
    """`batchctl run -- true`, some times in each round."""

    def __init__(self, world, times):
        self.times = times
        super().__init__(world, batch(), 1)

    def submit(self):
        return self.world.times(self.times, BATCHCTL, 'run', '--', 'true')

    def side(self):
        took = self.submit()
        self.client += took
        return [t.wall for t in took]


def run(o):
    """`batchctl run -- true`, from prompt to prompt"""
    times = 25
    with World() as w:
        w.start()
        ours = Single(w, times)
        got = alternate(2 * o.rounds, {
            'bash': lambda: [t.wall for t in w.times(times, '/bin/bash', '-c', '/bin/true;:')],
            'ours': ours.side}, warm=False)
        cpu = ours.an_op()
    for what, q, goal in (('median', 0.5, 1.5), ('99th percentile', 0.99, 5)):
        each = [[quantile(samples, q) for samples in got[name]] for name in ('ours', 'bash')]
        whole = [quantile(sum(got[name], []), q) for name in ('ours', 'bash')]
        yield Line('run', what + ' against bash -c "/bin/true;:"', ratios(*each), ('<=', goal), seconds(whole[0]), seconds(whole[1]),
                   note=cpu if q == 0.5 else 'a commit waits for the disk: its fdatasync takes %s us' % o.machine['fsync_us'])


ROWS = {'noop': noop, 'bash': bash_row, 'chain': chain, 'run': run}
