"""Rows about running commands: noop, bash, chain, run."""
import os
import shutil

from harness import BATCHCTL, bash, batch, exec_
from measure import Line, alternate, best, cpu_ns, cpu_shares, figure, median, note, quantile, ratios, seconds
from world import World

PARALLEL = 8
OPS = 5000
PEER_OPS = 1000     # enough for neighbours, which take many times as long
TSP = 'export TS_SOCKET=$PWD/ts TS_SLOTS=%d TS_MAXFINISHED=%d;' % (PARALLEL, PEER_OPS)


class Used:
    """CPU of batchd (its loop, its other threads) and batchd-spawner over a stretch of work."""

    def __init__(self, world):
        self.daemon, self.world = world.daemon_pid(), world
        self.before, self.shares = self.read()

    def read(self):
        spawner = self.world.spawner_pid()
        shares = {name: cpu_shares(pid) for name, pid in (('batchd', self.daemon), ('spawner', spawner)) if pid}
        return (cpu_ns(self.daemon), cpu_ns(spawner) if spawner else {}), shares

    def an_op(self, ops, client):
        """One line: microseconds of CPU an op of each, and user/system by ticks. `client`: of each batchctl a Took."""
        (daemon, spawner), shares = self.read()
        used = {t: (ns - self.before[0].get(t, 0)) / 1e3 / ops for t, ns in daemon.items()}
        split = {}
        for name, (user, system) in shares.items():
            was = self.shares.get(name, (0, 0))
            split[name] = '%s/%s' % (figure((user - was[0]) * 1e6 / ops), figure((system - was[1]) * 1e6 / ops))
        others = sorted((v for t, v in used.items() if t != self.daemon), reverse=True)
        return 'us of CPU an op: batchd %s (loop %s, other threads %s; user/sys %s), batchd-spawner %s (%s), batchctl %s' % (
            figure(sum(used.values())), figure(used[self.daemon]), ' '.join(figure(v) for v in others if v >= 0.05) or '0',
            split.get('batchd', '-'),
            figure((sum(spawner.values()) - sum(self.before[1].values())) / 1e3 / ops), split.get('spawner', '-'),
            figure(sum(t.user + t.system for t in client) * 1e6 / ops))


def submit(world, path, took=None, jobs=PARALLEL):
    """The whole process of `batchctl submit --wait -q`, to the prompt."""
    t = world.ctl_time('submit', '--wait', '-q', '-j', jobs, path)
    if took is not None:
        took.append(t)
    return t.wall


def loops(world, ops, *argv, captured=False):
    """The bare loops, with 1..cores forkers, never more than 8."""
    return {'%d forkers' % n: lambda n=n: world.loop(ops, PARALLEL, n, *argv, captured=captured).wall
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
        path = w.batch_file('noop.json', batch([exec_('/bin/true')] * n))
        limits, others, took = loops(w, n, '/bin/true'), peers(w, fewer), []
        submit(w, path)
        used = Used(w)
        got = alternate(o.rounds, {**limits, 'ours': lambda: submit(w, path, took), **others}, warm=False)
        cpu = used.an_op(n * len(took), took)
        w.shell('! command -v tsp >/dev/null || { %s tsp -K; }' % TSP)
    limit, ours = best(*[got[name] for name in limits]), got['ours']
    yield Line('noop', 'against the best bare loop', ratios(limit, ours), ('>=', 0.95), an_op(ours, n), an_op(limit, n), note=cpu)
    for name in others:
        theirs = [t * n / fewer for t in got[name]]
        yield Line('noop', 'against ' + name, ratios(theirs, ours), None, an_op(ours, n), an_op(theirs, n))


def an_op(values, ops):
    return seconds(median(values) / ops) + ' an op'


def bash_row(o):
    """5 000 times bash, output kept, 8 at a time"""
    command, n = 'echo $((1+1))', o.count(OPS)
    with World() as w:
        w.start()
        path, took = w.batch_file('bash.json', batch([bash(command)] * n)), []
        limits = loops(w, n, '/bin/bash', '-c', command, captured=True)
        submit(w, path)
        used = Used(w)
        got = alternate(o.rounds, {**limits, 'ours': lambda: submit(w, path, took)}, warm=False)
        cpu = used.an_op(n * len(took), took)
    limit, ours = best(*[got[name] for name in limits]), got['ours']
    yield Line('bash', 'against the best bare loop', ratios(limit, ours), ('>=', 1.0), an_op(ours, n), an_op(limit, n), note=cpu)


def chain(o):
    """1 000 ops, each needing the one before"""
    n = o.count(1000)
    ops = [exec_('/bin/true', id='o%d' % i, **({'needs': ['o%d' % (i - 1)]} if i else {})) for i in range(n)]
    with World() as w:
        w.start()
        path, took = w.batch_file('chain.json', batch(ops)), []
        submit(w, path)
        used = Used(w)
        got = alternate(o.rounds, {'limit': lambda: w.loop(n, 1, 1, '/bin/true').wall, 'ours': lambda: submit(w, path, took)}, warm=False)
        cpu = used.an_op(n * len(took), took)
    yield Line('chain', 'against one after the other', ratios(got['limit'], got['ours']), ('>=', 0.9),
               an_op(got['ours'], n), an_op(got['limit'], n), note=cpu)


def run(o):
    """`batchctl run -- true`, from prompt to prompt"""
    times = 50
    with World() as w:
        w.start()
        took = []
        w.times(20, BATCHCTL, 'run', '--', 'true')

        def ours():
            took.extend(w.times(times, BATCHCTL, 'run', '--', 'true'))
            return [t.wall for t in took[-times:]]
        used = Used(w)
        got = alternate(max(o.rounds, 10), {
            'bash': lambda: [t.wall for t in w.times(times, '/bin/bash', '-c', '/bin/true;:')],
            'ours': ours}, warm=False)
        cpu = used.an_op(len(took), took)
    for what, q, goal in (('median', 0.5, 1.5), ('99th percentile', 0.99, 5)):
        each = [[quantile(samples, q) for samples in got[name]] for name in ('ours', 'bash')]
        whole = [quantile(sum(got[name], []), q) for name in ('ours', 'bash')]
        yield Line('run', what + ' against bash -c "/bin/true;:"', ratios(*each), ('<=', goal), seconds(whole[0]), seconds(whole[1]),
                   note=cpu if q == 0.5 else 'a commit waits for the disk: its fdatasync takes %s us' % o.machine['fsync_us'])


ROWS = {'noop': noop, 'bash': bash_row, 'chain': chain, 'run': run}
