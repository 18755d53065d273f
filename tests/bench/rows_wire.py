"""Rows about the socket and about doing nothing: reads, subscribe, idle."""
import contextlib
import os
import socket
import sqlite3
import subprocess
import time

import msgpack

from harness import batch, bash, read, until
from measure import Line, alternate, cpu_total, figure, median, memory, note, ratios, seconds, switches
from world import World, native

OLD_RUNS = 1000000
TODOS = 20
FOR_EVER = 'keep_rows = 0\n'


def frame(method, **params):
    return msgpack.packb([0, 1, method, [params]])


def exchange(path, request):
    """How many bytes the answer to a request has."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(request)
        unpacker, got = msgpack.Unpacker(), 0
        while True:
            data = s.recv(1 << 20)
            got += len(data)
            unpacker.feed(data)
            for _, _, error, _ in unpacker:
                assert error is None, error
                return got


def load(world, path, connections, requests, request, reply_bytes):
    """(requests a second, median, p99 in s) of the native client; see load.c."""
    file = os.path.join(world.dir, 'request')
    with open(file, 'wb') as f:
        f.write(request)
    done = subprocess.run([native('load'), path, str(connections), str(requests), file, str(reply_bytes)],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    rate, *waits = map(float, done.stdout.split())
    return (rate, *[w / 1e9 for w in waits[:2]])


# --- a long history, made fast ---

def grow_history(world, run, n):
    """
    Gives the store of a stopped batchd n more runs, each a copy of `run`: by SQL, since running a million would take an hour. The
    copies lie before it, a second apart.
    """
    columns = {}
    with contextlib.closing(sqlite3.connect(os.path.join(world.state, 'batchd.db'), isolation_level=None)) as db:
        for t in ('run', 'op', 'batch'):
            columns[t] = [row[1] for row in db.execute('PRAGMA table_info(%s)' % t) if row[1] != 'run']
        db.execute('PRAGMA synchronous = OFF')
        db.execute('BEGIN')
        moved = run + n
        for t, names in columns.items():
            db.execute('UPDATE %s SET run = ? WHERE run = ?' % t, (moved, run))
            taken = ['%s - (? - i) * 1000' % c if t == 'run' and c in ('created', 'started', 'ended') else c for c in names]
            db.execute('WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i < ?) INSERT INTO %s(run, %s) '
                       'SELECT i, %s FROM n, %s WHERE run = ?' % (t, ', '.join(names), ', '.join(taken), t),
                       (run, moved - 1, *[moved for c in taken if '?' in c], moved))
        db.execute("UPDATE meta SET value = ? WHERE key = 'next_run'", (moved + 1,))
        db.execute('COMMIT')
    return moved


def read_world(world, old_runs):
    """A batchd with a run of some ops, a todo list, and that many runs before it; what is asked of it."""
    world.start()
    world.call('todo.write', list='l', todos=[{'id': 't%d' % i, 'content': 'item %d' % i} for i in range(TODOS)])
    run = world.run(batch([bash('true', description='op %d' % i) for i in range(10)]))['run']
    if old_runs:
        world.stop_quietly()
        run = grow_history(world, run, old_runs)
        world.start()
    assert world.call('run.get', run=run)['state'] == 'succeeded'
    return {'todo.list': frame('todo.list', list='l'), 'run.get': frame('run.get', run=run)}


def echo_server(world, stack, request_bytes, reply_bytes):
    path = os.path.join(world.dir, 'echo-%d-%d' % (request_bytes, reply_bytes))
    server = world.spawn(native('echo'), path, str(request_bytes), str(reply_bytes))
    stack.callback(lambda: (server.kill(), server.wait()))
    until(lambda: os.path.exists(path), 'the echo server')
    return path


def reads(o):
    """todo.list and run.get, with an empty and a long history"""
    requests, old = max(2000, o.count(20000)), o.count(OLD_RUNS)
    with contextlib.ExitStack() as stack:
        empty, full = stack.enter_context(World(FOR_EVER)), stack.enter_context(World(FOR_EVER))
        asked, asked_full = read_world(empty, 0), read_world(full, old)
        for method in asked:
            reply = exchange(empty.socket, asked[method])
            path = echo_server(empty, stack, len(asked[method]), reply)
            for connections in (1, 64):
                sides = {
                    'echo': lambda: load(empty, path, connections, requests, asked[method], reply),
                    'ours': lambda: load(empty, empty.socket, connections, requests, asked[method], reply),
                    'full': lambda: load(full, full.socket, connections, requests, asked_full[method],
                                         exchange(full.socket, asked_full[method])),
                }
                yield from read_lines(method, connections, alternate(o.rounds, sides), old)


def read_lines(method, connections, got, old):
    what = '%s, %d connection%s' % (method, connections, 's' if connections > 1 else '')
    rate, half, late = ({name: [r[i] for r in rounds] for name, rounds in got.items()} for i in range(3))
    yield Line('reads', what + ': against echo', ratios(rate['ours'], rate['echo']), ('>=', 0.5),
               '%s a second' % figure(median(rate['ours'])), '%s a second' % figure(median(rate['echo'])))
    yield Line('reads', what + ': median', [t * 1e6 for t in half['ours']], ('<', 100) if connections == 1 else None,
               'p99 %s' % seconds(median(late['ours'])), 'echo %s, p99 %s' % (seconds(median(half['echo'])), seconds(median(late['echo']))),
               ' us')
    yield Line('reads', what + ': with %d old runs' % old, ratios(rate['full'], rate['ours']), ('>=', 0.95),
               '%s a second' % figure(median(rate['full'])), '%s a second' % figure(median(rate['ours'])))


# --- followers ---

class Followers:
    """Connections that follow all runs and read what comes (load.c)."""

    def __init__(self, world, n):
        self.n, self.process = n, None
        if n:
            file = os.path.join(world.dir, 'subscribe')
            with open(file, 'wb') as f:
                f.write(frame('run.subscribe'))
            self.process = world.spawn(native('load'), world.socket, str(n), '0', file, '0', stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self.process.stdout.readline() == b'ready\n'

    def done(self):
        """How many bytes came."""
        return int(self.process.communicate()[0]) if self.process else 0


def events_of(world, path):
    """How many events a follower sees of this batch."""
    with world.connect() as c:
        c.call('run.subscribe')
        world.ctl_time('submit', '--wait', '-q', path)
        c.call('run.list', limit=1)
        until(lambda: any(p[1][-1].get('type') == 'run.state' and p[1][-1]['state'] == 'succeeded' for p in c.pushes)
              or c.call('rpc.hello') is None, 'the last event')
        return len(c.pushes)


def subscribe(o):
    """run.subscribe with 1, 10 and 100 followers"""
    n = o.count(2000)   # whose events a follower that does not read for a while is still not told to look anew for (1 MiB)
    with World() as w:
        w.start()
        w.put('empty')
        pid, path = w.daemon_pid(), w.batch_file('reads.json', batch([read('empty')] * n))
        events = events_of(w, path)

        def side(followers):
            f = Followers(w, followers)
            w.settle(pid)
            before = cpu_total(pid)
            w.ctl_time('submit', '--wait', '-q', path)
            w.settle(pid)
            used = cpu_total(pid) - before
            return used / events, f.done() / events
        got = alternate(o.rounds, {k: lambda k=k: side(k) for k in (0, 1, 10, 100)}, warm=False)
    cpu = {k: [c for c, _ in v] for k, v in got.items()}
    sent = median([b for _, b in got[100]]) / 100
    told = 'CPU an event with 0, 1, 10, 100 followers: %s; bytes a follower and event: %s' % (
        ', '.join(seconds(median(v)) for v in cpu.values()), figure(sent))
    yield added(cpu, (0, 1), (1, 10), None)
    yield added(cpu, (1, 10), (10, 100), ('<=', 1.1), told)


def added(cpu, few, many, goal, told=''):
    """A line: what each follower costs when there come more of them (`many`: from, to), against what each did before (`few`)."""
    less, more = ([(b - a) / (to - at) for a, b in zip(cpu[at], cpu[to])] for at, to in (few, many))
    return Line('subscribe', 'CPU of each follower, %d to %d against %d to %d' % (*many, *few), ratios(more, less), goal,
                seconds(max(0, median(more))) + ' an event', seconds(max(0, median(less))) + ' an event', 'x', told)


# --- nothing to do ---

def idle(o):
    """a minute of nothing to do, and of waiting for a command"""
    minute = o.minute
    with World() as w:
        w.start()
        w.run(batch([bash('echo warm')]))
        until(lambda: w.spawner_pid() is None or w.settle(w.spawner_pid()) is None, 'the spawner')
        w.disconnect()
        yield from idle_lines(w, 'nothing to do', minute)
        w.stored_op(w.submit(batch([bash('exec sleep 100000')])))
        w.disconnect()
        yield from idle_lines(w, 'one op asleep', minute)


def idle_lines(world, what, minute):
    pids = {name: pid for name, pid in (('batchd', world.daemon_pid()), ('batchd-spawner', world.spawner_pid())) if pid}
    for pid in pids.values():
        world.settle(pid)
    before = {name: switches(pid) for name, pid in pids.items()}
    time.sleep(minute)      # the measurement itself
    for name, pid in pids.items():
        count, held = switches(pid) - before[name], memory(pid)
        yield Line('idle', '%s: %s is woken' % (what, name), [count * 60 / minute], ('<=', 0), '', '', ' a minute')
        yield Line('idle', '%s: memory of %s' % (what, name), [held['VmRSS'] / (1 << 20)], ('<', 6),
                   'resident; PSS %s MiB' % figure(held['Pss'] / (1 << 20)), '', ' MiB')
    if 'batchd-spawner' not in pids:
        note('idle: there is no batchd-spawner with ' + what)


ROWS = {'reads': reads, 'subscribe': subscribe, 'idle': idle}
