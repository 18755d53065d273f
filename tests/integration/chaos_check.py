"""
The checker of a chaos run. At a quiet moment everything that goes on comes to its end, and then what is stored, what ops did, what
clients and subscribers were told and what was done to the daemon must fit together.
"""
import json
import os
import re
import time
import zlib

from chaos_batches import DETACHED
from chaos_world import ONE_MOMENT_MS, TOLERANCE_MS, now_ms
from harness import ENDED, SLOW, Rpc, RpcError, command_line, descendants, proc_stat, process_name

FDS_MORE, RSS_MORE_KB = 24, 48 << 10        # of batchd, over what it had at the first check point
SETTLE_SECONDS = 90
KEPT = 20                                   # batches that are not forgotten at a check point
UNREAD = 'output may be missing'
OP_ENDED = ENDED + ('skipped',)


MADE = re.compile(r'(t\d+x\d+x\d+)(-\d+-\d+-\d+)?$')     # a key: the tag of a batch, and for what an op of it submits NAME-RUN-ATTEMPT


def is_nested(doc):
    """Submitted by an op; one whose op was over by then (lost, cancelled) has no parent."""
    made = MADE.match(doc['key'] or '')
    return bool(made and made.group(2))


def is_warm_shell(pid, line):
    """The bash that the spawner keeps waiting, and which is no op."""
    st = proc_stat(pid)
    return line == [b'bash'] and st and process_name(st[1]) == 'batchd-spawner'


class Checker:
    def __init__(self, world):
        self.w, self.first = world, None
        self.docs, self.owner = {}, {}          # run: what became of it; run: its tag
        self.forgotten, self.gone = set(), set()            # runs; tags
        self.reader = None
        world.notes = []

    def bad(self, text, run=None, *about):
        self.w.violation(text, *(['run %d' % run] if run else []), *about)

    def call(self, method, **params):
        return self.reader.call(method, params, timeout=60 * SLOW)

    def call_on_run(self, method, **params):
        """The run may have ended in the moment since it was listed."""
        try:
            self.call(method, **params)
        except RpcError as e:
            if e.symbol != 'E_STATE':
                raise

    def check(self):
        w = self.w
        before = w.count['violations']
        with Rpc(w.box.socket, timeout=60 * SLOW) as self.reader:
            self.send_unanswered()
            self.settle()
            fresh = self.load()
            self.check_acked()
            effects = self.read_effects()
            for run in fresh:
                self.check_run(self.docs[run], effects)
            self.check_lists(fresh)
            self.check_watchers()
            self.check_processes(fresh)
            self.check_growth()
            w.count['runs'] += len(fresh)
            w.count['ops'] += sum(len(self.docs[run]['ops']) for run in fresh)
            if w.count['violations'] > before:
                w.keep_copy()
            self.forget()

    # --- coming to rest

    def send_unanswered(self):
        """What was asked for and not answered is asked again, under its key."""
        w = self.w
        for tag in [t for t in w.asked if t not in w.run_of]:
            batch = dict(w.asked[tag].batch, cwd=w.box.work, env_base=w.box.env(BATCHD_SOCKET=None))
            for _ in range(20):
                try:
                    w.acked(self.call('batch.submit', batch=batch)['run'], tag)
                    break
                except RpcError as e:
                    if not w.pressed(now_ms()):
                        self.bad('%s was refused the second time: %s' % (tag, e.text), None, tag)
                        break
                    time.sleep(0.2)

    def settle(self):
        """Everything that is held back goes on, and every run ends."""
        deadline = time.monotonic() + SETTLE_SECONDS * SLOW
        while True:
            for doc in self.call('run.list', state=['paused'], limit=1000)['runs']:
                self.call_on_run('run.resume', run=doc['run'])
            left = self.call('run.list', state=['queued', 'running', 'paused'], limit=1000)['runs']
            if not left:
                return
            if time.monotonic() > deadline:
                break
            self.call('run.wait', run=left[-1]['run'], timeout_ms=300)
        for doc in left:
            ops = [(o['index'], o['state'], o['attempts'], o['pid']) for o in self.call('run.get', run=doc['run'])['ops'] if o['state'] not in OP_ENDED]
            self.bad('run %d does not end: %s, %r' % (doc['run'], doc['state'], ops), doc['run'])
            self.call_on_run('run.cancel', run=doc['run'], now=True)
        self.call('run.wait', runs=[d['run'] for d in left], timeout_ms=10000)

    def load(self):
        """Takes in every run that is not known yet; returns their ids."""
        fresh, before = [], None
        while True:
            page = self.call('run.list', limit=500, **({'before': before} if before else {}))
            fresh += [d['run'] for d in page['runs'] if d['run'] not in self.docs]
            before = page['next']
            if before is None:
                break
        self.w.box.connection = self.reader
        for run in sorted(fresh):
            if run in self.forgotten:
                self.bad('run %d was forgotten and is there again' % run, run)
            self.docs[run] = self.w.box.get(run)
            self.owner[run] = self.tag_of(self.docs[run])
        return sorted(fresh)

    def tag_of(self, doc):
        """The batch that a run is an execution of: by its key, or by that of the run it restarts."""
        made = MADE.match(doc['key'] or '')
        tag = made.group(1) if made else self.owner.get(doc['origin'])
        if tag not in self.w.asked and tag not in self.gone:
            self.bad('run %d is of a batch that nobody asked for: key %r, origin %r' % (doc['run'], doc['key'], doc['origin']), doc['run'])
        elif made and not made.group(2) and self.w.run_of.get(tag) != doc['run']:
            self.bad('run %d has the key of run %r' % (doc['run'], self.w.run_of.get(tag)), doc['run'])
        return tag

    def check_acked(self):
        for run, tag in sorted(self.w.tag_of.items()):
            if run not in self.docs and run not in self.forgotten:
                self.bad('run %d (%s) was acknowledged and is gone' % (run, tag), run)
            elif self.owner.get(run, tag) != tag:
                self.bad('run %d was acknowledged for %s and is of %s' % (run, tag, self.owner[run]), run)

    # --- effects

    def read_effects(self):
        """{(run, name): [attempt]}, each at most once, and only of batches that were asked for."""
        found = {}
        folder = self.w.box.path('effects')
        for name in os.listdir(folder):
            tag = name.split('-')[0]
            if tag not in self.w.asked:
                self.bad('an effect of a batch that is not known: %s' % name, None, tag)
                continue
            with open(os.path.join(folder, name)) as f:
                lines = f.read().split('\n')
            for line in lines[:-1]:
                made = re.fullmatch(r'(\d+)\.(\d+)\.(\d+)', line)
                if not made or lines[-1]:
                    self.bad('effects/%s holds %r' % (name, lines))
                    continue
                run, index, attempt = map(int, made.groups())
                attempts = found.setdefault((run, name), [])
                if attempt in attempts:
                    self.bad('run %d op %d attempt %d happened twice' % (run, index, attempt), run)
                attempts.append(attempt)
                self.check_owner(run, index, name, tag)
        return found

    def check_owner(self, run, index, name, tag):
        plan = self.w.asked[tag].plans[index - 1] if index <= len(self.w.asked[tag].plans) else None
        if self.owner.get(run) != tag or not (name.endswith('n') or plan and plan.name == name):
            self.bad('effects/%s has a line of run %d op %d, which is of %s' % (name, run, index, self.owner.get(run)), run)

    # --- runs

    def check_run(self, doc, effects):
        w, run = self.w, doc['run']
        asked, nested = w.asked[self.owner[run]], is_nested(doc)
        ops = doc['ops']
        self.check_end_of_run(doc, asked)
        for op in ops:
            w.saw(run, op['index'], (op['state'], op['cause'], op['exit'], op['attempts']))
            plan = None if nested else asked.plans[op['index'] - 1]
            name = plan.name if plan else (doc['key'] or '').rsplit('-', 2)[0] + 'n'
            self.check_effect(doc, op, effects.get((run, name), []), plan.effect if plan else True)
            if op['state'] == 'interrupted':
                w.count['interrupted ops'] += 1
                self.check_lost(doc, op)
            if plan:
                self.check_op(doc, op, asked, plan)
                self.check_output(doc, op, plan)
                self.check_file(doc, op, plan)
        for entry in w.cancels.get(run, []):
            self.check_cancel(doc, entry)

    def check_end_of_run(self, doc, asked):
        """The state of a run follows from those of its ops."""
        self.w.saw(doc['run'], None, doc['state'])
        nested = is_nested(doc)
        required = [o for o in doc['ops'] if nested or not asked.plans[o['index'] - 1].op.get('optional')]
        states = {o['state'] for o in doc['ops']}
        follows = 'interrupted' if 'interrupted' in states else 'failed' if any(o['state'] in ('failed', 'cancelled') for o in required) else 'succeeded'
        if not states <= set(OP_ENDED):
            self.bad('run %d has ended and its ops have not: %r' % (doc['run'], states), doc['run'])
        if doc['state'] == 'cancelled':
            if not self.cancelled(doc):
                self.bad('run %d is cancelled and nobody cancelled it' % doc['run'], doc['run'])
        elif doc['state'] != follows and not ('skipped' in states and doc['state'] == 'failed'):
            self.bad('run %d is %s; by its ops it is %s' % (doc['run'], doc['state'], follows), doc['run'])

    def cancelled(self, doc):
        """Whether somebody asked for it, here or for the run that submitted it; or its op was ended there."""
        if any(not c.op and not c.signal for c in self.w.cancels.get(doc['run'], [])):
            return True
        parent = self.docs.get(doc['parent'])
        return bool(parent) and (self.cancelled(parent) or any(c.op and not c.signal for c in self.w.cancels.get(parent['run'], [])) or
                                 parent['ops'][doc['parent_op'] - 1]['state'] != 'succeeded')

    def check_effect(self, doc, op, attempts, has):
        where = 'run %d op %d (%s, %s, %d attempts)' % (doc['run'], op['index'], op['state'], op['cause'], op['attempts'])
        if any(a > op['attempts'] for a in attempts) or (attempts and op['cause'] == 'reused'):
            self.bad('%s has effects of attempts %r' % (where, attempts), doc['run'])
        exited = op['state'] == 'succeeded' or (op['state'], op['cause']) == ('failed', 'exit')
        if has and exited and op['cause'] != 'reused' and op['attempts'] not in attempts:
            self.bad('%s is without its effect; there are %r' % (where, attempts), doc['run'])

    def check_lost(self, doc, op):
        file_op = op['kind'] in ('edit', 'write')
        since, to = op['started'] or doc['created'], op['ended'] or doc['ended']
        if op['cause'] != 'lost' or not self.w.killed('batchd' if file_op else 'spawner', since, to):
            self.bad('run %d op %d is interrupted (%s) and nothing of ours was killed from %d to %d' % (doc['run'], op['index'], op['cause'], since, to), doc['run'])

    def check_op(self, doc, op, asked, plan):
        """How an op ended is how its kind ends, or somebody made it end otherwise."""
        run, end = doc['run'], (op['state'], op['cause'])
        entries = self.w.cancels.get(run, [])
        cancels, signals = [c for c in entries if not c.signal], [c for c in entries if c.signal]
        troubled = asked.fails or not asked.strict or entries or doc['origin'] or asked.named or \
            any(o['state'] in ('interrupted', 'failed') for o in doc['ops'])
        full = self.w.pressed(doc['created'], doc['ended'])
        fine = end == plan.ends or op['cause'] == 'reused' or \
            op['state'] == 'interrupted' or \
            (op['state'] == 'skipped' and troubled) or \
            (end == ('cancelled', 'cancel') and cancels) or \
            (end == ('cancelled', 'dependency') and asked.batch.get('on_failure') == 'kill') or \
            (op['state'] == 'failed' and signals) or \
            (end == ('cancelled', 'timeout') or end == ('failed', 'timeout')) and not asked.strict or \
            (plan.attempts > 1 and end == ('failed', 'exit') and (not asked.strict or cancels or asked.batch.get('on_failure') == 'kill')) or \
            (op['state'] == 'failed' and plan.nested and (full or cancels or self.nested_failed(doc, op))) or \
            (plan.nested and op['exit'] == 125 and self.batchd_ended(op)) or \
            (end == ('failed', 'io') and op['kind'] == 'todos' and full) or \
            (end == ('failed', 'conflict') and op['kind'] == 'edit' and doc['origin'])
        if not fine:
            said = self.output(run, op['index'], 'stderr')[-200:] if op['attempts'] else b''
            self.bad('run %d op %d (%r) is %r at try %d, exit %r, signal %r, error %r, said %r; it ends as %r' %
                     (run, op['index'], plan.op, end, op['attempts'], op['exit'], op['signal'], op['error'], said, plan.ends), run)
        if end == plan.ends and end[0] == 'succeeded' and plan.attempts > op['attempts'] and op['cause'] != 'reused':
            self.bad('run %d op %d succeeded at try %d, and does at %d' % (run, op['index'], op['attempts'], plan.attempts), run)
        if plan.lingering and end == plan.ends and not op['lingering'] and not self.w.killed('spawner', op['started'], op['ended']):
            self.bad('run %d op %d left a child behind and it was not counted' % (run, op['index']), run)

    def batchd_ended(self, op):
        """Under it: batchctl does not submit a second time by itself, and says that it does not know."""
        return self.w.killed('batchd', op['started'], op['ended']) or any(op['started'] <= t <= op['ended'] for t in self.w.stops)

    def nested_failed(self, doc, op):
        return any(d['parent'] == doc['run'] and d['parent_op'] == op['index'] and d['state'] != 'succeeded' for d in self.docs.values())

    def check_cancel(self, doc, entry):
        """An answered cancel is not forgotten: nothing of the run starts after the answer, and it ends cancelled.

        What was with the spawner by then may begin a moment later, on a busy machine, and is ended by that cancel."""
        run = doc['run']
        if entry.signal or not entry.answered or entry.state in ENDED:
            return
        if not entry.op and doc['state'] != 'cancelled':
            self.bad('run %d was cancelled, answered %s at %d, and is %s' % (run, entry.state, entry.answered, doc['state']), run)
        always = {i for i, m in enumerate(self.w.asked[self.owner[run]].batch['messages'], 1) if m.get('always')} if not is_nested(doc) else set()
        for op in doc['ops']:
            on_its_way = (op['state'], op['cause']) == ('cancelled', 'cancel')
            if entry.op in (None, op['index']) and (entry.now or entry.op or op['message'] not in always) and \
                    (op['started'] or 0) > entry.answered + (ONE_MOMENT_MS if on_its_way else TOLERANCE_MS) and op['kind'] != 'todos':
                self.bad('run %d op %d started at %d, cancelled at %d' % (run, op['index'], op['started'], entry.answered), run)

    def output(self, run, op, stream, offset=0):
        data = b''
        while True:
            got = self.call('run.output', run=run, op=op, stream=stream, offset=offset + len(data))
            data += got['data']
            if got['end'] or not got['data']:
                return data

    def check_output(self, doc, op, plan):
        """Complete and byte-exact where it ended as it does; else the beginning of that."""
        if op['cause'] == 'reused' or not op['attempts']:
            return
        where = 'run %d op %d (%s)' % (doc['run'], op['index'], op['state'])
        # Said where both programs were killed in one moment, and only there.
        unread = (op['error'] or '').startswith(UNREAD)
        self.w.count['outputs lost'] += unread
        if unread and not self.w.pipes_lost(op['started'], doc['ended']):
            self.bad('%s lacks output, and its pipes did not go with both programs' % where, doc['run'])
        whole = (op['state'], op['cause']) == plan.ends and not unread
        if plan.dropped and whole and (op['stdout_bytes'] != plan.dropped or not op['dropped_bytes']):
            self.bad('%s printed %d bytes, %d are counted' % (where, plan.dropped, op['stdout_bytes']), doc['run'])
        for stream, expected in (('stdout', plan.out), ('stderr', plan.err)):
            if expected is None or plan.attempts > 1 and not whole:
                continue
            got = self.output(doc['run'], op['index'], stream)
            if whole and got != expected or not expected.startswith(got):
                self.bad('%s: %s has %d bytes %r, should be %d: %r' % (where, stream, len(got), got[:40], len(expected), expected[:40]), doc['run'])
            if len(got) != op[stream + '_bytes']:
                self.bad('%s: %s has %d bytes, %d are counted' % (where, stream, len(got), op[stream + '_bytes']), doc['run'])
        if plan.nested and whole:
            self.check_nested(doc, op, where)

    def check_nested(self, doc, op, where):
        """What its batchctl printed is a run that it is the parent of."""
        out = self.output(doc['run'], op['index'], 'stdout').split()
        child = self.docs.get(int(out[0])) if out and out[0].isdigit() else None
        if not child or (child['parent'], child['parent_op']) != (doc['run'], op['index']):
            self.bad('%s submitted %r, which is %r' % (where, out, child and (child['run'], child['parent'], child['parent_op'])), doc['run'])

    def check_file(self, doc, op, plan):
        if op['state'] != 'succeeded' or op['cause'] or sum(tag == self.owner[doc['run']] for tag in self.owner.values()) > 1:
            return
        if plan.file and self.w.box.bytes(plan.file[0]) != plan.file[1]:
            self.bad('run %d op %d: %s is not as written' % (doc['run'], op['index'], plan.file[0]), doc['run'])
        if plan.append and self.w.box.text(plan.append) != plan.name + '\n':
            self.bad('run %d op %d: %s holds %r' % (doc['run'], op['index'], plan.append, self.w.box.text(plan.append)), doc['run'])

    # --- todos

    def check_lists(self, fresh):
        names = sorted({name for name, _, _ in self.w.todo_writes})
        for name in names:
            history, now = self.replay(name)
            for _, rev, item in [x for x in self.w.todo_writes if x[0] == name]:
                told = history.get(rev)
                changed = told and told['before'] + told['after']       # nothing, where it was so before
                if told is None or item and changed and item not in told['after'] and item['id'] not in [t['id'] for t in told['before']]:
                    self.bad('%s: revision %d was answered with %r, and is %r' % (name, rev, item, told), None, name)
            revs = [rev for n, rev, _ in self.w.todo_writes if n == name]
            if len(revs) != len(set(revs)):
                self.bad('%s: two writes were answered with one revision' % name)
        self.w.todo_writes.clear()
        _, driven = self.replay('driven')
        for run in fresh:
            self.check_driven(self.docs[run], driven)

    def replay(self, name):
        """The history of a list, by revision; replayed it makes the list."""
        history, since, items = {}, 0, {}
        while since is not None:
            page = self.call('todo.history', list=name, since=since, limit=1000)
            history.update({e['rev']: e for e in page['events']})
            since = page['next']
        for rev in sorted(history):
            for t in history[rev]['before']:
                if items.pop(t['id'], None) != t:
                    self.bad('%s: revision %d changed %r, which was otherwise' % (name, rev, t), None, name)
            items.update({t['id']: t for t in history[rev]['after']})
        now = self.call('todo.list', list=name)
        if sorted(history) != list(range(1, now['rev'] + 1)):
            self.bad('%s: revision %d, and a history of %d' % (name, now['rev'], len(history)))
        shown = {t['id']: t for t in now['todos']}
        if now['next'] is None and shown != items and not any(t['lease_until'] for t in items.values()):
            self.bad('%s: the list is not what its history makes of it: %r' % (name, [(shown.get(i), items.get(i)) for i in {**shown, **items} if shown.get(i) != items.get(i)][:2]))
        return history, shown

    def check_driven(self, doc, items):
        """The item of an op says how it ended, where one run drove it."""
        if is_nested(doc) or sum(tag == self.owner[doc['run']] for tag in self.owner.values()) > 1:
            return
        for op in doc['ops']:
            item = items.get(op['todo'])
            if op['todo'] and item and op['attempts']:
                expected = 'completed' if op['state'] == 'succeeded' else 'pending'
                if item['status'] != expected:
                    self.bad('run %d op %d is %s, its todo %s' % (doc['run'], op['index'], op['state'], item['status']), doc['run'], op['todo'])

    # --- what subscribers were told

    def check_watchers(self):
        for p, log in list(self.w.watchers.items()):
            while True:
                at = log.tell()
                line = log.readline()
                if not line.endswith('\n'):
                    log.seek(at)
                    break
                self.w.count['events'] += 1
                self.told(json.loads(line))
            if p.poll() is not None:
                log.close()
                del self.w.watchers[p]

    def told(self, e):
        kind = e[0]
        if kind == 'bad':
            self.bad('a subscriber: ' + e[1])
        elif kind == 'run' and e[2] in ENDED:
            self.w.saw(e[1], None, e[2])
        elif kind == 'op' and e[3] in OP_ENDED:
            self.w.saw(e[1], e[2], tuple(e[3:7]))
        elif kind == 'short':
            self.bad('a subscriber heard of the end of run %d op %d before all of its %s: %d of %d bytes' % tuple(e[1:6]), e[1])
        elif kind == 'out' and self.owner.get(e[1]) in self.w.asked and \
                not (e[1] in self.docs and is_nested(self.docs[e[1]])):
            _, run, index, attempt, stream, offset, size, crc = e
            plan = self.w.asked[self.owner[run]].plans[index - 1]
            expected = plan.out if stream == 'stdout' else None
            if expected and plan.attempts == 1 and zlib.crc32(expected[offset:offset + size]) != crc:
                self.bad('a subscriber was told other output of run %d op %d, at %d' % (run, index, offset), run)

    # --- what is left

    def strangers(self):
        ours = {p.pid for p in self.w.watchers}
        return [(pid, line) for pid in descendants(os.getpid()) if pid not in ours and process_name(pid) not in ('batchd', 'batchd-spawner')
                for line in [command_line(pid)] if line and not line[0].startswith(DETACHED.encode()) and not is_warm_shell(pid, line)]

    def check_processes(self, fresh):
        deadline = time.monotonic() + 5 * SLOW
        while self.strangers() and time.monotonic() < deadline:
            self.w.tick()
            time.sleep(0.05)
        for pid, line in self.strangers():
            try:
                with open('/proc/%d/environ' % pid, 'rb') as f:
                    of = dict(v.split(b'=', 1) for v in f.read().split(b'\0') if b'=' in v)
            except OSError:
                of = {}
            run, op = of.get(b'BATCHD_RUN', b'?').decode(), of.get(b'BATCHD_OP', b'?').decode()
            self.bad('process %d %r of run %s op %s is left' % (pid, line, run, op), int(run) if run.isdigit() else None)
            os.kill(pid, 9)

    def check_growth(self):
        """Of batchd at rest."""
        with open('/proc/%d/status' % self.w.pid) as f:
            rss = int(re.search(r'VmRSS:\s*(\d+)', f.read()).group(1))
        status = self.call('daemon.status')
        fds = len(os.listdir('/proc/%d/fd' % self.w.pid)) - status['connections']
        spawner = len(os.listdir('/proc/%d/fd' % status['spawner_pid']))
        now = (fds, rss, spawner)
        self.w.note('growth: batchd %d fds and %d kB, spawner %d fds' % now)
        self.first = self.first or now
        self.w.notes = ['at rest, first and last: batchd %d and %d fds, %d and %d kB; spawner %d and %d fds' %
                        (self.first[0], fds, self.first[1], rss, self.first[2], spawner)]
        if fds > self.first[0] + FDS_MORE or spawner > self.first[2] + FDS_MORE or rss > self.first[1] + RSS_MORE_KB:
            self.bad('grown: (fds, kB, fds of the spawner) %r at first, %r now' % (self.first, now))

    def forget(self):
        """All but the newest batches are forgotten, with their effects; their ids and effects never come again."""
        w = self.w
        tags = sorted(w.run_of, key=w.run_of.get)[:-KEPT]
        runs = [run for run, tag in self.owner.items() if tag in tags]
        for i in range(0, len(runs), 500):
            got = self.call('run.forget', runs=runs[i:i + 500])
            if got['needed'] if 'needed' in got else False:
                self.bad('runs %r cannot be forgotten' % got['needed'])
        for name in os.listdir(w.box.path('effects')):
            if name.split('-')[0] in tags:
                os.unlink(w.box.path('effects', name))
        for tag in tags:
            self.gone.add(tag)
            del w.asked[tag], w.run_of[tag]
        for run in runs:
            self.forgotten.add(run)
            self.docs.pop(run)
            w.tag_of.pop(run, None)
        w.settled = sorted(run for run in w.tag_of if run in self.docs)
