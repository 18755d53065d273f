#!/usr/bin/python3
"""
Random work and random harm for as long as asked: chaos.py --seconds N [--seed S] [--report FILE] [--keep DIR]

Clients submit, cancel, pause, restart, read, watch and write todos, each by its own seeded choice from the table ACTIONS, while batchd
and batchd-spawner are killed, stopped and told to reload, and the disk fills, by the table FAULTS. Every minute or so all of it halts:
everything comes to its end, and chaos_check.py holds the whole history against what was promised. One seed makes the same choices, not
the same timing. Exit status 0 when no promise was broken; the report says how much was done, and each violation with its evidence.
"""
import argparse
import contextlib
import os
import random
import signal
import sys
import threading
import time

import msgpack

import chaos_batches
from chaos_check import Checker, is_warm_shell
from chaos_world import Cancel, World, now_ms
from harness import ENDED, SLOW, Closed, Rpc, RpcError, command_line, proc_stat

CLIENTS = 4
LIVE_MAX = 40           # runs; a client that finds more waits instead
STRETCH_SECONDS = 45
LISTS = ('c1', 'c2')
PLACES = ('E_STATE', 'E_NOT_FOUND')     # the run has ended, the item is gone: the client came too late


class Client(threading.Thread):
    def __init__(self, world, n, epoch):
        super().__init__(daemon=True)
        self.w, self.n, self.r = world, n, random.Random('%s client %d %d' % (world.seed, n, epoch))
        self.rpc, self.made, self.gate = None, 0, threading.Lock()

    def run(self):
        try:
            while not self.w.over:
                with self.gate:
                    self.act(*self.r.choices(ACTIONS, [a[1] for a in ACTIONS])[0])
                time.sleep(self.r.expovariate(20))
        except Exception as e:      # the checker's own mistake, or an answer of a shape that cannot be
            self.w.violation('client %d: %r at line %d' % (self.n, e, e.__traceback__.tb_next.tb_lineno if e.__traceback__.tb_next else 0))
            raise
        finally:
            self.gate.acquire(False)
            self.gate.release()

    def act(self, action, _, allowed=()):
        begun, done = now_ms(), '-'
        try:
            if self.rpc is None:
                self.rpc = Rpc(self.w.box.socket, timeout=20 * SLOW)
                self.call('rpc.hello', client='client%d' % self.n)
            done = action(self)
        except TimeoutError:
            self.w.violation('%s was not answered in time' % action.__name__, 'c%d' % self.n)
            self.cut()
        except (Closed, OSError):
            done = 'cut'
            self.cut()
            time.sleep(0.03)
        except RpcError as e:
            done = e.text
            self.refused(action.__name__, e, begun, allowed)
        if done != '-':
            self.w.note('c%d %s: %s' % (self.n, action.__name__, done))

    def cut(self):
        if self.rpc:
            self.rpc.close()
        self.rpc = None

    def refused(self, name, e, begun, allowed):
        if e.symbol == 'E_STORAGE' and self.w.pressed(begun):
            self.w.count['refused for disk'] += 1
        elif e.symbol not in allowed and not (self.w.ending and e.symbol in ('E_BUSY', 'E_STATE')):
            self.w.violation('%s was refused: %s' % (name, e.text), 'c%d' % self.n)

    def call(self, method, **params):
        return self.rpc.call(method, params, timeout=20 * SLOW)

    def send(self, asked):
        """Submits once or once more; a run that a key had already is the same run."""
        env = self.w.box.env(BATCHD_SOCKET=None)
        got = self.call('batch.submit', batch=dict(asked.batch, cwd=self.w.box.work, env_base=env))
        self.w.count['submits'] += 1
        self.w.acked(got['run'], asked.tag)
        return 'run %d %s%s' % (got['run'], asked.tag, ' existing' if got['existing'] else '')

    def some_run(self):
        """A run of late, by preference one that goes on; raises E_NOT_FOUND where there is none."""
        runs = sorted(self.w.tag_of)[-60:]
        if not runs:
            raise RpcError([1, 'E_NOT_FOUND: no run yet'])
        going = [run for run in runs if (run, None) not in self.w.seen]
        return self.r.choice(going if going and self.r.random() < 0.8 else runs)

    def some_ended(self):
        ended = [run for run in sorted(self.w.tag_of)[-100:] if (run, None) in self.w.seen]
        if not ended:
            raise RpcError([1, 'E_NOT_FOUND: none has ended yet'])
        return self.r.choice(ended)

    def saw_run(self, doc):
        if doc['state'] in ENDED:
            self.w.saw(doc['run'], None, doc['state'])


# --- what clients do, one function each; what they return goes to the diary ------------------------------------------

def submit(c):
    if c.call('daemon.status')['live_runs'] > LIVE_MAX:
        return wait(c)
    c.made += 1
    asked = chaos_batches.make(c.r, 't%dx%dx%d' % (c.w.stretch, c.n, c.made), [r for r in c.w.settled[-20:] if r in c.w.tag_of])
    c.w.asked[asked.tag] = asked
    return c.send(asked)


def submit_again(c):
    tags = list(c.w.asked)[-30:]
    return c.send(c.w.asked[c.r.choice(tags)]) if tags else None


def submit_other(c):
    """Another batch under a key that was used is refused, and changes nothing."""
    tags = [t for t in list(c.w.run_of)[-30:] if t in c.w.asked]
    if not tags:
        return None
    tag = c.r.choice(tags)
    got = c.call('batch.submit', batch=dict(c.w.asked[tag].batch, cwd=c.w.box.work, name='other'))
    c.w.violation('another batch under the key %s was answered with run %d' % (tag, got['run']), tag)


def cancel(c, **keys):
    run = c.some_run()
    entry = Cancel(**keys)
    c.w.cancels[run].append(entry)
    c.w.note('c%d asks to cancel run %d %r' % (c.n, run, keys))
    got = c.call('run.cancel', run=run, **{k: v for k, v in keys.items() if v})
    entry.answered, entry.state = now_ms(), got['state']
    c.w.count['signals' if 'signal' in keys else 'cancels'] += 1
    c.saw_run(got)
    return 'run %d %r' % (run, keys)


def cancel_op(c):
    return cancel(c, op=c.r.randrange(1, 5))


def cancel_now(c):
    return cancel(c, now=True)


def send_signal(c):
    return cancel(c, op=c.r.randrange(1, 4), signal=c.r.choice(('SIGUSR1', 'SIGTERM', 'SIGINT', 'KILL')))


def pause(c):
    run = c.some_run()
    c.call('run.pause', run=run, freeze=c.r.random() < 0.4)
    return 'run %d' % run


def resume(c):
    for doc in c.call('run.list', state=['paused'], limit=5)['runs']:
        c.call('run.resume', run=doc['run'])
        c.w.note('c%d resume: run %d' % (c.n, doc['run']))


def restart(c, **keys):
    run = c.some_ended()
    got = c.call('run.restart', run=run, env_base=c.w.box.env(BATCHD_SOCKET=None), **keys)
    c.w.count['restarts'] += 1
    with c.w.lock:
        c.w.tag_of[got['run']] = c.w.tag_of[run]
    return 'run %d of run %d %r' % (got['run'], run, keys)


def restart_failed(c):
    return restart(c, failed=True)


def wait(c):
    run = c.some_run()
    c.saw_run(c.call('run.wait', run=run, timeout_ms=c.r.randrange(1500)))


def look(c):
    run = c.some_run()
    got = c.call('run.get', run=run, output=c.r.choice((0, 100)))
    c.saw_run(got)
    for op in got['ops']:
        if op['state'] in ENDED + ('skipped',):
            c.w.saw(run, op['index'], (op['state'], op['cause'], op['exit'], op['attempts']))


def read_output(c):
    """Any part of what an op prints, while it prints it or later, is what it prints there."""
    run = c.some_run()
    plans = c.w.asked[c.w.tag_of[run]].plans if c.w.tag_of[run] in c.w.asked else []
    known = [(i, p) for i, p in enumerate(plans, 1) if p.out and p.attempts == 1]
    if known:
        index, plan = c.r.choice(known)
        offset, limit = c.r.randrange(len(plan.out)), int(10 ** c.r.uniform(1, 6))
        got = c.call('run.output', run=run, op=index, stream='stdout', offset=offset, limit=limit)
        if got['data'] != plan.out[offset:offset + limit][:len(got['data'])]:
            c.w.violation('run %d op %d: stdout from %d is not what it prints: %r' % (run, index, offset, got['data'][:60]), 'run %d' % run)


def half_frame(c):
    data = msgpack.packb([0, 1, 'run.list', [{'limit': 1, 'name': 'x' * c.r.randrange(100000)}]])
    half = Rpc(c.w.box.socket)
    half.send_bytes(data[:c.r.randrange(1, len(data))])
    if c.r.random() < 0.5:
        half.close()
    else:
        c.w.deaf.append(half)


def deaf_subscriber(c):
    """Subscribes to all output and never reads."""
    if len(c.w.deaf) > 4:
        c.w.deaf.pop(0).close()
    deaf = Rpc(c.w.box.socket)
    deaf.request('run.subscribe', {'output': 'data'})
    c.w.deaf.append(deaf)


def batchctl(c):
    run = c.some_run()
    args = c.r.choice((['status', '--everywhere'], ['status', run], ['log', run], ['wait', run, '--timeout', '1'], ['todo', 'list', '--list', 'c1'],
                       ['follow', run], ['explain', '%d.1' % run]))
    if args[0] == 'follow' and (run, None) not in c.w.seen:
        return None         # may take as long as it is paused
    done = c.w.box.ctl(*args, timeout=60 * SLOW)
    if done.status not in (0, 1, 2, 124, 125):
        c.w.violation('%r' % done)
    return '%r: %d' % (args, done.status)


def group_set(c):
    c.call('group.set', group='b', slots=c.r.randrange(1, 5))


# --- todos: what was answered is kept, for the checker ---

def todo(c, method, **keys):
    name = '%s-%d' % (c.r.choice(LISTS), c.w.stretch)
    got = c.call('todo.' + method, list=name, **{k: v for k, v in keys.items() if v is not None})
    if method != 'claim' or got['todo']:
        c.w.todo_writes.append((name, got['rev'], got.get('todo')))
        c.w.count['todo writes'] += 1


def todo_item(c):
    return 'i%d' % c.r.randrange(12)


def todo_write(c):
    ids = c.r.sample(range(12), c.r.randrange(1, 6))
    todo(c, 'write', mode=c.r.choice(('merge', 'merge', 'replace')),
         todos=[{'id': 'i%d' % i, 'content': 'of %d, %d' % (c.n, c.r.randrange(99)), 'priority': c.r.choice(('high', 'low'))} for i in ids])


def todo_update(c):
    todo(c, 'update', id=todo_item(c), status=c.r.choice(('pending', 'in_progress', 'completed', 'cancelled')), content='new %d' % c.r.randrange(99))


def todo_claim(c):
    todo(c, 'claim', owner='owner%d' % c.n, lease_ms=c.r.choice((None, 200, 5000)), id=c.r.choice((None, todo_item(c))))


def todo_release(c):
    todo(c, 'release', id=todo_item(c))


def todo_remove(c):
    todo(c, 'remove', id=todo_item(c))


ACTIONS = (
    (submit, 20), (submit_again, 4), (submit_other, 1, ('E_KEY',)),
    (cancel, 3, PLACES), (cancel_op, 3, PLACES), (cancel_now, 1, PLACES), (send_signal, 2, PLACES),
    (pause, 3, PLACES), (resume, 6, PLACES), (restart, 1, PLACES), (restart_failed, 2, PLACES),
    (wait, 5, PLACES), (look, 8, PLACES), (read_output, 8, PLACES), (batchctl, 1, PLACES), (group_set, .3),
    (half_frame, .5), (deaf_subscriber, .5),
    (todo_write, 4), (todo_update, 4, PLACES), (todo_claim, 4, PLACES + ('E_CONFLICT',)), (todo_release, 2, PLACES + ('E_CONFLICT',)),
    (todo_remove, 1, PLACES),
)


# --- the harm, one function each -------------------------------------------------------------------------------------

def kill_batchd(w, r):
    w.kill('batchd')
    time.sleep(r.choice((0, 0, r.uniform(0, 1.5))))


def kill_spawner(w, r):
    w.kill('batchd-spawner')


def kill_warm_shell(w, r):
    """The bash that the spawner keeps: one that has waited for a while, for a new child of it looks the same."""
    for pid in w.find('bash'):
        st = proc_stat(pid)
        if st and time.clock_gettime(time.CLOCK_BOOTTIME) - st[2] / os.sysconf('SC_CLK_TCK') > 1 and is_warm_shell(pid, command_line(pid)):
            w.note('kill -9 of the warm shell', pid)
            w.count['kills of warm shells'] += 1
            os.kill(pid, signal.SIGKILL)


def kill_both(w, r):
    for name in r.sample(('batchd', 'batchd-spawner'), 2):
        w.kill(name)
    time.sleep(r.choice((0, r.uniform(0, 1))))


def stop_and_start(w, r):
    w.stop()
    time.sleep(r.choice((0, r.uniform(0, 1))))


def reload(w, r):
    w.config(r.randrange(4, 14), r.randrange(1, 4))
    for pid in w.find('batchd'):
        w.count['reloads'] += 1
        os.kill(pid, signal.SIGHUP)


def upgrade_spawner(w, r):
    for pid in w.find('batchd-spawner')[:1]:     # the others of that name are about to be an op
        w.count['spawner upgrades'] += 1
        os.kill(pid, signal.SIGHUP)


def fill_disk(w, r):
    w.press(r.choice((0, 0, 4096, 65536, 300000)))


def make_room(w, r):
    w.relieve()


def new_watcher(w, r):
    if len([p for p in w.watchers if p.poll() is None]) < 5:
        w.watch(*r.choice((('run', 'data'), ('run', 'sizes'), ('run', 'no'), ('todo', 'no'))))


def end_watcher(w, r):
    p = r.choice([p for p in w.watchers if p.poll() is None] or [None])
    if p:
        p.kill()
        p.wait()


def stop_watcher(w, r):
    p = r.choice([p for p in w.watchers if p.poll() is None] or [None])
    if p:
        p.send_signal(signal.SIGSTOP)
        w.stopped.add(p)


def continue_watchers(w, r):
    for p in w.stopped:
        p.send_signal(signal.SIGCONT)
    w.stopped.clear()


HARMLESS = ((reload, 2), (upgrade_spawner, 1), (make_room, 3), (new_watcher, 2), (end_watcher, 1), (stop_watcher, 2), (continue_watchers, 3))
FAULTS = HARMLESS + ((kill_batchd, 6), (kill_spawner, 2), (kill_warm_shell, 2), (kill_both, 1), (stop_and_start, 2), (fill_disk, 2))


# --- the run ---------------------------------------------------------------------------------------------------------

def stretch(w, r, seconds):
    """Every third goes by with nobody killed and the disk left alone, so that what one batchd holds can be compared."""
    faults = HARMLESS if w.stretch % 3 == 2 else FAULTS
    end = time.monotonic() + seconds
    while time.monotonic() < end and not w.over:
        time.sleep(min(r.expovariate(1), max(0, end - time.monotonic())))
        w.tick()
        fault = r.choices([f for f, _ in faults], [weight for _, weight in faults])[0]
        w.note('fault', fault.__name__)
        fault(w, r)
        w.serve()


def quiet(w, r, checker, clients):
    """All clients halt, all harm is undone, and the history is checked."""
    w.relieve()
    continue_watchers(w, r)
    with contextlib.ExitStack() as halted:
        for c in clients:
            halted.enter_context(c.gate)
            c.cut()
        while w.deaf:
            w.deaf.pop().close()
        w.serve()
        checker.check()
        w.stretch += 1


def run(w, seconds):
    r, checker, begun, epoch = random.Random('%s faults' % w.seed), Checker(w), time.monotonic(), 0
    w.serve()
    w.watch('run', 'data')
    w.watch('todo', 'no')
    clients = [Client(w, n, epoch) for n in range(CLIENTS)]
    for c in clients:
        c.start()
    while time.monotonic() - begun < seconds:
        stretch(w, r, min(STRETCH_SECONDS, begun + seconds - time.monotonic()))
        quiet(w, r, checker, clients)
    w.over = True
    for c in clients:
        c.join(60)


def report(w):
    lines = ['%.0f s, seed %s, %d check points%s' % (time.monotonic() - w.begun, w.seed, w.stretch, '' if w.disk else '; disk pressure skipped: nothing can be mounted here')]
    lines += ['%s: %d' % (name, w.count[name]) for name in
              ('submits', 'runs', 'ops', 'interrupted ops', 'outputs lost', 'kills of batchd', 'kills of spawner', 'kills of warm shells', 'graceful stops', 'reloads', 'spawner upgrades', 'cancels',
               'signals', 'restarts', 'todo writes', 'events', 'refused for disk', 'violations')]
    lines += w.notes + w.violations
    return '\n'.join(lines) + '\n'


def main():
    ap = argparse.ArgumentParser(description=__doc__.split('\n')[1])
    ap.add_argument('--seconds', type=float, default=60)
    ap.add_argument('--seed', default=None)
    ap.add_argument('--report', metavar='FILE')
    ap.add_argument('--keep', metavar='DIR', help='copy the whole world here, each time promises were broken')
    args = ap.parse_args()
    for sig in (signal.SIGINT, signal.SIGTERM):     # leave nothing behind; in the background INT is ignored otherwise
        signal.signal(sig, lambda *_: sys.exit(1))
    w = World(args.seed if args.seed is not None else str(random.randrange(1 << 30)), args.keep)
    try:
        run(w, args.seconds)
    except (AssertionError, RpcError, OSError, Closed) as e:
        w.violation('the run itself ended: %r' % e)
        raise
    finally:
        if w.violations:
            w.keep_copy()
        w.done()
        text = report(w)
        print(text, end='')
        if args.report:
            with open(args.report, 'w') as f:
                f.write(text)
    return 1 if w.count['violations'] else 0


if __name__ == '__main__':
    sys.exit(main())
