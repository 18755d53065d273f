"""
Contract section 1 as a table: batch, message, op, kinds, order, states, processes, output. A row is a sentence of the contract, and a
batch with what its run must look like, or a function for what takes more than one look. Rows of a table share a box, each in a
folder of its own.
"""
import contextlib
import hashlib
import os
import re
import signal
import sqlite3
import time
import unittest

import msgpack

from harness import PATIENCE, SLOW, Case, Differs, alive, bash, batch, edit, exec_, match, message, read, todos, until, write

OK = {'state': 'succeeded', 'cause': None}
SKIPPED = {'state': 'skipped', 'cause': 'dependency', 'attempts': 0}
CANCELLED = {'state': 'cancelled', 'cause': 'cancel'}


def failed(cause, **keys):
    return dict({'state': 'failed', 'cause': cause}, **keys)


def ops(*expected, state='succeeded', **keys):
    return dict({'state': state, 'ops': list(expected)}, **keys)


def sha(text):
    return hashlib.sha256(text.encode()).hexdigest()


class Table(Case):
    """What the functions of the rows work with: `t.here`, the row's folder, and short words for the box's."""

    def go(self, *table):
        sentences = [row[0] for row in table]
        self.assertEqual(len(sentences), len(set(sentences)), 'a sentence twice')
        for i, (sentence, case, *expected) in enumerate(table):
            self.here = self.box.path('row%d' % i)
            os.mkdir(self.here)
            with self.subTest(sentence):
                try:
                    if callable(case):
                        case(self)
                    else:
                        match(expected[0], self.run_(case))
                except Differs as e:
                    self.fail('%s: %s' % (sentence, e))

    def submit(self, b, **keys):
        return self.box.submit(b, **dict({'cwd': self.here}, **keys))

    def run_(self, b, **keys):
        run = self.submit(b, **keys)
        self.box.wait(run)
        return self.box.get(run)

    def end(self, run, expected):
        self.box.wait(run)
        match(expected, self.box.get(run))

    def out(self, b, op=1, **keys):
        run = self.run_(b, **keys)
        match({'state': 'succeeded'}, run)
        return self.box.output(run['run'], op, 'stdout')

    def says(self, op, expected, **keys):
        self.assertEqual(self.out(batch([op]), **keys), expected)

    def file(self, name, content=None):
        path = os.path.join(self.here, name)
        if content is not None:
            with open(path, 'w') as f:
                f.write(content)
            return path
        with open(path) as f:
            return f.read()

    def gate(self, name='gate'):
        os.mkfifo(os.path.join(self.here, name))

    def open(self, name='gate'):
        with open(os.path.join(self.here, name), 'w') as f:
            f.write('\n')

    def began(self, name='began'):
        until(lambda: os.path.exists(os.path.join(self.here, name)), name)

    def refuses(self, symbol, b, *says):
        before = self.box.call('run.list', limit=1)['runs']
        self.refused_batch(symbol, dict({'cwd': self.here}, **b), says)
        self.assertEqual(self.box.call('run.list', limit=1)['runs'], before, 'a refused batch changes nothing')


WAITING = 'touch began; read x < gate'


# --- Batch -----------------------------------------------------------------------------------------------------------

def needs_runs(t):
    t.gate()
    first, bad = t.submit(batch([bash(WAITING)])), t.submit(batch([bash('false')]))
    t.box.wait(bad)
    after, after_bad = t.submit(batch([bash('true')]), needs_runs=[first]), t.submit(batch([bash('true')]), needs_runs=[bad])
    match({'state': 'queued', 'started': None}, t.box.get(after))
    t.open()
    t.end(after, ops(OK))
    t.end(after_bad, ops(SKIPPED, state='failed'))


def after_any_runs(t):
    t.gate()
    first = t.submit(batch([bash(WAITING + '; false')]))
    after = t.submit(batch([bash('true')]), after_any_runs=[first])
    match({'state': 'queued'}, t.box.get(after))
    t.open()
    t.end(after, ops(OK))


def paused_needs(t):
    t.gate()
    first = t.submit(batch([bash(WAITING)]))
    after = t.submit(batch([bash('touch ran'), bash('true')]), needs_runs=[first])
    t.box.call('run.pause', run=after)
    t.box.call('run.resume', run=after)
    t.box.call('run.cancel', run=after, op=2)
    match({'state': 'queued'}, t.box.get(after))
    t.open()
    t.box.wait(first)
    t.end(after, ops(OK, CANCELLED, state='failed'))
    assert t.box.get(after)['started'] >= t.box.get(first)['ended'], 'not before the run it needs'


def held(t):
    run = t.submit(batch([bash('true'), bash('true')]), held=True)
    match({'state': 'paused', 'started': None}, t.box.get(run))
    t.box.call('run.cancel', run=run, op=1)
    match({'state': 'paused', 'ops': [CANCELLED, {'state': 'waiting'}]}, t.box.get(run))
    t.box.call('run.resume', run=run)
    t.end(run, ops(CANCELLED, OK, state='failed'))


def not_before(t):
    when = int(time.time() * 1000) + 400
    run = t.submit(batch([bash('true')]), not_before=when, held=True)
    t.box.call('run.resume', run=run)
    t.end(run, ops({'started': lambda s: s >= when}))


def delay(t):
    asked = int(time.time() * 1000)
    run = t.submit(batch([bash('true')]), delay='400ms')
    t.end(run, ops({'started': lambda s: s >= asked + 400}))


def key(t):
    b = dict(batch([bash('true')]), cwd=t.here, key='k')
    first = t.box.call('batch.submit', batch=dict(b, env_base={'A': '1'}))
    match({'run': first['run'], 'existing': True}, t.box.call('batch.submit', batch=dict(b, env_base={'A': '2'})))
    match({'existing': False}, first)
    t.refused('E_KEY', 'batch.submit', {'batch': dict(b, name='other')}, str(first['run']))
    t.refused('E_KEY', 'batch.check', {'batch': dict(b, name='other')}, str(first['run']))
    match({'warnings': [lambda w: "key 'k'" in w and str(first['run']) in w]}, t.box.call('batch.check', batch=b))


def key_at_once(t):
    b = dict(batch([bash('echo x >> f')]), cwd=t.here, key='at-once')
    rs = [t.box.connect() for _ in range(8)]
    ids = [r.request('batch.submit', {'batch': b}) for r in rs]
    answers = [r.reply(i) for r, i in zip(rs, ids)]
    assert len({a['run'] for a in answers}) == 1 and [a['existing'] for a in answers].count(False) == 1, answers


def key_outlives_references(t):
    """What the batch refers to is for a run to come: the key's first run is answered with also when that is gone."""
    other = t.submit(batch([bash('true')]))
    t.box.wait(other)
    t.box.call('todo.write', list='gone', todos=[{'id': 'x', 'content': 'X'}])
    b = dict(batch([bash('true')]), cwd=t.here, list='gone')
    table = (('E_NOT_FOUND', dict(b, key='needs', needs_runs=[other])),
             ('E_NOT_FOUND', dict(b, key='after', after_any_runs=[other])),
             ('E_PARAMS', dict(b, key='todo', messages=[message(bash('true', todo='x'))])))
    firsts = [t.box.call('batch.submit', batch=wanted)['run'] for _, wanted in table]
    for run in firsts:
        t.box.wait(run)
    t.box.call('run.forget', run=other)
    t.box.call('todo.write', list='gone', todos=[], source='*')
    for run, (symbol, wanted) in zip(firsts, table):
        match({'run': run, 'existing': True, 'warnings': []}, t.box.call('batch.submit', batch=wanted))
        t.refused('E_KEY', 'batch.submit', {'batch': dict(wanted, name='other')}, 'run %d' % run)
        t.refuses(symbol, dict(wanted, key='anew'))


def daemons_env(t):
    b = dict(batch([bash('echo $HOME')]), cwd=t.here)
    run = t.box.call('batch.submit', batch=b)['run']
    t.end(run, ops(OK))
    t.assertEqual(t.box.output(run, 1), t.box.env()['HOME'].encode() + b'\n')


class Batch(Table):
    def test_keys(self):
        self.go(
            ('`messages`: run in order', batch([bash('sleep .05; echo 1 >> f')], [bash('echo 2 >> f; test "$(cat f)" = $\'1\\n2\'')]),
             ops(OK, OK, messages=[{'index': 1, 'state': 'succeeded'}, {'index': 2}])),
            ('`messages`: required, 1 or more', lambda t: (t.refuses('E_PARAMS', {}, 'messages'),
                                                           t.refuses('E_PARAMS', {'messages': []}, 'messages'))),
            ('`messages`: each with 1 or more ops', lambda t: t.refuses('E_PARAMS', batch([bash('true')], []), 'messages[1].ops')),
            ('`cwd`: required on the wire, absolute', lambda t: (
                t.refused('E_PARAMS', 'batch.submit', {'batch': batch([bash('true')])}, 'cwd'),
                t.refuses('E_PARAMS', batch([bash('true')], cwd='relative'), 'cwd'))),
            ('`env_base`, `env`: added to it, nil removes', lambda t: t.says(
                bash('echo $A $B ${C-none}'), b'1 2 none\n',
                env_base={'A': '1', 'B': '1', 'C': '1', 'PATH': '/bin:/usr/bin'}, env={'B': '2', 'C': None})),
            ("`env_base` absent: the daemon's", daemons_env),
            ('`name`: label', batch([bash('true')], name='label'), {'name': 'label'}),
            ('`name`: not a number, `last`, `all`', lambda t: [
                t.refuses('E_PARAMS', batch([bash('true')], name=n), 'name') for n in ('7', '3-7', 'last', 'all', 'a.b', 'a,b', 'a b')]),
            ('`key`: same key and same batch, `env_base` aside, is the first run; another is refused naming it', key),
            ('`key`: also when all come at once', key_at_once),
            ('`key`: also when what the batch refers to is gone', key_outlives_references),
            ('`on_failure` stop: no later message', batch([bash('false')], [bash('true')]), ops(failed('exit'), SKIPPED, state='failed')),
            ('`on_failure` continue: go on', batch([bash('false')], [bash('true')], on_failure='continue'),
             ops(failed('exit'), OK, state='failed')),
            ('`on_failure` kill: also stop the running siblings',
             batch([bash('sleep .1; false'), bash('exec sleep 60')], [bash('true')], on_failure='kill'),
             ops(failed('exit'), {'state': 'cancelled', 'cause': 'dependency'}, SKIPPED, state='failed')),
            ('`order` serial: one after another as written', batch([bash('sleep .05; echo 1 > f'), bash('cat f')], order='serial'),
             ops(OK, OK, order='serial', order_used='serial')),
            ('`order` as-if-serial: runs serially, and `order_used` says so',
             batch([bash('sleep .05; echo 1 > f'), bash('cat f')], order='as-if-serial'), ops(OK, OK, order_used='serial')),
            ('`group`: a pool named for the first time has 1 slot',
             batch([bash('mkdir l && sleep .02 && rmdir l')] * 4, group='narrow'), ops(*[OK] * 4, group='narrow')),
            ('`priority`: -1000000 to 1000000', lambda t: t.refuses('E_PARAMS', batch([bash('true')], priority=1000001), 'priority')),
            ("`jobs`: this run's own cap", batch([bash('mkdir l && sleep .02 && rmdir l')] * 4, jobs=1), ops(*[OK] * 4)),
            ('`timeout`: for the whole run, what has not started is skipped, clean-up is done',
             batch([bash('exec sleep 60')], [bash('true')], message(bash('true'), always=True), timeout=.3),
             ops(failed('timeout', exit=None), {'state': 'skipped', 'cause': 'timeout'}, OK, state='failed')),
            ('`timeout`: which finds nothing to end but clean-up does not fail the run',
             batch([bash('true')], message(bash('sleep .6'), always=True), timeout=.3), ops(OK, OK)),
            ('`timeout`: which ends an optional op does not fail the run',
             batch([bash('true'), bash('exec sleep 60', optional=True)], timeout=.3), ops(OK, failed('timeout', exit=None))),
            ('`needs_runs`: start when these succeeded', needs_runs),
            ('`after_any_runs`: start when these ended', after_any_runs),
            ('`needs_runs`: pause, resume and the cancel of an op begin nothing before its time', paused_needs),
            ('`needs_runs`: the run that is not there is named', lambda t: t.refuses(
                'E_NOT_FOUND', batch([bash('true')], needs_runs=[1, 7777]), 'needs_runs[1]', '7777')),
            ('`held`: accepted but paused until `resume`', held),
            ('`not_before`: not started before', not_before),
            ('`delay`: not started sooner than that', delay),
            ('`list`: todo list for this batch', batch([bash('test $BATCHD_LIST = mine')], list='mine'), ops(OK)),
            ('`output_cap`: per op, 0 = none', batch([bash('seq 30000', output_cap=0), bash('seq 30000')], output_cap=30000),
             ops({'dropped_bytes': 0, 'stdout_bytes': 168894}, {'dropped_bytes': lambda n: n > 100000, 'stdout_bytes': 168894})),
            ('`umask`: a str of octal digits', lambda t: (t.says(bash('umask'), b'0027\n', umask='027'),
                                                        t.refuses('E_PARAMS', batch([bash('true')], umask='9'), 'umask'))),
            ('`umask`: else 022', lambda t: t.says(bash('umask'), b'0022\n')),
            ('`meta`: kept and returned', batch([bash('true')], meta={'a': [1, {'b': 'c'}]}), {'meta': {'a': [1, {'b': 'c'}]}}),
            ('`meta`: nests at most 8 deep', lambda t: (
                match({'state': 'succeeded'}, t.run_(batch([bash('true')], meta=nested(8)))),
                t.refuses('E_LIMIT', batch([bash('true')], meta=nested(9)), 'meta'))),
        )


def nested(depth):
    return {'x': nested(depth - 1)} if depth > 1 else {}


# --- Message ---------------------------------------------------------------------------------------------------------

def timeout_of_a_message(t):
    run = t.run_(batch(message(bash('echo x >> tries; exec sleep 60', retries=5, retry_delay=0, id='a'),
                               bash('true', after_any=['a']), timeout=.3)))
    match(ops(failed('timeout', attempts=1), {'state': 'skipped', 'cause': 'timeout'}, state='failed'), run)
    t.assertEqual(t.file('tries'), 'x\n', 'past it nothing is tried again')


def timeout_of_a_message_opened_while_paused(t):
    t.gate()
    run = t.submit(batch([bash(WAITING)], message(bash('exec sleep 60'), timeout=.3)))
    t.began()
    t.box.call('run.pause', run=run)
    t.open()
    until(lambda: t.box.get(run)['ops'][0]['state'] == 'succeeded', 'the first message')
    t.box.call('run.resume', run=run)
    t.end(run, ops(OK, {'state': lambda s: s in ('failed', 'skipped'), 'cause': 'timeout'}, state='failed'))


def timeout_of_a_message_over_kill_9(t):
    run = t.submit(batch(message(bash('touch began; exec sleep 60'), timeout=1.5)))
    t.began()
    time.sleep(1)       # most of it goes by
    begun = time.monotonic()
    t.box.restart()
    t.end(run, ops(failed('timeout'), state='failed'))
    got = t.box.get(run)['ops'][0]
    t.assertLess(got['ended'] - got['started'], 1500 + (time.monotonic() - begun) * 1000, 'counts from its start')


def timeout_of_a_run_in_a_message(t):
    # One of its ops succeeded, the other could not begin in time.
    t.gate()
    run = t.submit(batch([bash(WAITING), bash('true')], [bash('true')], message(bash('true'), always=True)), jobs=1, timeout=1)
    t.began()
    t.box.call('run.pause', run=run)
    t.open()
    until(lambda: t.box.get(run)['ops'][1]['state'] == 'skipped', 'the timeout')
    t.box.call('run.resume', run=run)
    late = {'state': 'skipped', 'cause': 'timeout'}
    t.end(run, ops(OK, late, late, OK, state='failed', messages=[{'state': s} for s in ('failed', 'skipped', 'succeeded')]))


def states_of_messages_over_kill_9(t):
    t.gate()
    run = t.submit(batch([bash('false')], [bash('true')], message(bash(WAITING), always=True)))
    t.began()
    t.box.restart()
    t.open()
    t.end(run, ops(failed('exit'), SKIPPED, OK, state='failed', messages=[{'state': s} for s in ('failed', 'skipped', 'succeeded')]))


def late_message_over_kill_9(t):
    t.gate()
    late = {'state': 'skipped', 'cause': 'timeout'}
    run = t.submit(batch(message(bash('true'), bash('exec sleep 60', id='a', optional=True), bash('true', after_any=['a']), timeout=.5),
                         message(bash(WAITING), always=True)))
    t.began()
    t.box.restart()
    t.open()
    t.end(run, ops(OK, failed('timeout'), late, OK, state='failed', messages=[{'state': 'failed'}, {'state': 'succeeded'}]))


def always_retries(t):
    t.gate()
    run = t.submit(batch([bash(WAITING)], message(bash('echo x >> n; test $(wc -l < n) = 2', retries=1, retry_delay=0), always=True)))
    t.began()
    t.box.call('run.cancel', run=run)
    t.end(run, ops(CANCELLED, dict(OK, attempts=2), state='cancelled',
                   messages=[{'state': 'cancelled'}, {'state': 'succeeded'}]))


class Message(Table):
    def test_keys(self):
        self.go(
            ('`name`: of a message', batch(message(bash('true'), name='Set up, first')), {'messages': [{'name': 'Set up, first'}]}),
            ('`ops`: required', lambda t: t.refuses('E_PARAMS', {'messages': [{}]}, 'messages[0].ops')),
            ('`ops`: run in parallel', lambda t: (t.gate('a'), t.gate('b'), match(ops(OK, OK), t.run_(
                batch([bash('echo x > a; read w < b'), bash('read w < a; echo x > b')]))))),
            ('`on_failure` of a message', batch(message(bash('false'), on_failure='continue'), [bash('false')], [bash('true')]),
             ops(failed('exit'), failed('exit'), SKIPPED, state='failed')),
            ('`order` of a message', batch(message(bash('sleep .05; echo 1 > f'), bash('cat f'), order='serial')), ops(OK, OK)),
            ('`timeout` of a message: what it did not start is skipped', timeout_of_a_message),
            ('`timeout` of a message that begins while its run is paused', timeout_of_a_message_opened_while_paused),
            ('`timeout` of a message counts on over kill -9', timeout_of_a_message_over_kill_9),
            ("a message's state: failed where the run's timeout left an op of it out", timeout_of_a_run_in_a_message),
            ("a message's state over kill -9: what was skipped has not succeeded", states_of_messages_over_kill_9),
            ('a message that was late has failed, and its run, also over kill -9', late_message_over_kill_9),
            ('`always`: also after a failure', batch([bash('false')], [bash('true')], message(bash('true'), always=True)),
             ops(failed('exit'), SKIPPED, OK, state='failed')),
            ('`always`: also after cancel, with its retries', always_retries),
            ('`always`: unless cancelled with `now`', lambda t: cancelled_now(t)),
        )


def cancelled_now(t):
    run = t.submit(batch([bash('touch began; exec sleep 60')], message(bash('touch no'), always=True)))
    t.began()
    t.box.call('run.cancel', run=run, now=True)
    t.end(run, ops(CANCELLED, {'state': 'cancelled'}, state='cancelled'))
    assert not os.path.exists(os.path.join(t.here, 'no'))


# --- Op --------------------------------------------------------------------------------------------------------------

def retry_delay(t):
    run = t.run_(batch([bash('date +%s%3N >> at; false', retries=1)]))
    match(ops(failed('exit', attempts=2), state='failed'), run)
    first, second = map(int, t.file('at').split())
    t.assertGreaterEqual(second - first, 1000, 'default 1 s')


def detach(t):
    run = t.run_(batch([bash("setsid sh -c 'echo $$ > pid; exec sleep 60' < /dev/null > /dev/null 2>&1 & until test -s pid; do sleep .01; done",
                             detach=True)]))
    match(ops(dict(OK, lingering=lambda n: n >= 1)), run)
    pid = int(t.file('pid'))
    assert alive(pid)
    os.kill(pid, 9)


def drives(t):
    match(ops(OK, OK), t.run_(batch([todos({'id': 't', 'content': 'T'})], [bash('true', todo='t')]), list='of-op'))
    match([{'status': 'completed'}], t.box.call('todo.list', list='of-op')['todos'])


class Op(Table):
    def test_keys(self):
        many = [bash('true', id='x%d' % i) for i in range(3)]
        self.go(
            ('`id`: is shown', batch([bash('true', id='a-1_B')]), ops({'id': 'a-1_B', 'index': 1})),
            ('`id`: `[A-Za-z_][A-Za-z0-9_-]*`', lambda t: [
                t.refuses('E_PARAMS', batch(many + [bash('true', id=i)]), 'messages[0].ops[3].id')
                for i in ('1a', '-a', 'a.b', 'ä', '12', 'last', 'all', 'a b')]),
            ('`id`: unique in the batch', lambda t: t.refuses(
                'E_PARAMS', batch([bash('true', id='a')], [bash('true'), bash('true', id='a')]), 'messages[1].ops[1].id')),
            ('`needs`: start after these succeeded', batch([bash('cat f', needs=['w']), bash('sleep .05; echo > f', id='w')]), ops(OK, OK)),
            ('`needs` of what failed: skipped', batch([bash('false', id='a'), bash('true', needs=['a'])]),
             ops(failed('exit'), SKIPPED, state='failed')),
            ('`needs`: ids that do not exist', lambda t: t.refuses(
                'E_PARAMS', batch([bash('true', id='a'), bash('true', needs=['a', 'ghost'])]), 'messages[0].ops[1].needs[1]', 'ghost')),
            ('`needs`: cycles', lambda t: t.refuses(
                'E_PARAMS', batch([bash('true', id='a', needs=['b']), bash('true', id='b', needs=['a'])]), 'cycle', "'a'", "'b'")),
            ('`needs` on a later message', lambda t: t.refuses(
                'E_PARAMS', batch([bash('true', needs=['l'])], [bash('true', id='l')]), 'messages[0].ops[0].needs[0]')),
            ('`after_any`: after these ended, however', batch([bash('sleep .05; touch f; false', id='a'), bash('cat f', after_any=['a'])]),
             ops(failed('exit'), OK, state='failed')),
            ("`cwd`: absolute, or relative to the batch's", batch([exec_('mkdir', 'd')], [bash('test $(basename $PWD) = d', cwd='./d'),
                                                                                      bash('test $PWD = /', cwd='/')]), ops(OK, OK, OK)),
            ("`env`: over the batch's", lambda t: t.says(bash('echo $A', env={'A': 'op'}), b'op\n', env={'A': 'batch'})),
            ('`timeout`: 0 = none', batch([bash('sleep .05', timeout=0)]), ops(OK)),
            ('`timeout`: fractions, units', batch([bash('exec sleep 60', timeout=.1), bash('exec sleep 60', timeout='150ms'),
                                                   bash('exec sleep 60', timeout='0.1s'), bash('true', timeout='1h30m'),
                                                   bash('true', timeout='2d'), bash('true', timeout=120000)]),
             ops(*[failed('timeout', exit=None)] * 3, OK, OK, OK, state='failed')),
            ('`timeout`: what is no duration', lambda t: [
                t.refuses('E_PARAMS', batch([bash('true', timeout=d)]), 'messages[0].ops[0].timeout')
                for d in (-1, '', '5 parsecs', '1m 5s', '-5s', 'm', '1h30', True, [], '1e3s')]),
            ('`timeout`: a str has units', lambda t: [t.refuses('E_PARAMS', batch([bash('true', timeout=d)]), 'has no unit', d + 's')
                                                      for d in ('1000', '0', '1.5', '7.')]),
            ('`retries`: extra tries', batch([bash('echo x >> n; test $(wc -l < n) = 3', retries=5, retry_delay=0)]),
             ops(dict(OK, attempts=3))),
            ('`retry_delay`: default 1 s', retry_delay),
            ('`ok_exits`: default `[0]`', batch([bash('exit 3', ok_exits=[3, 4]), bash('exit 0', ok_exits=[3])]),
             ops(dict(OK, exit=3), failed('exit', exit=0), state='failed')),
            ('`optional`: its failure does not fail the message', batch([bash('false', optional=True)], [bash('true')]), ops(failed('exit'), OK)),
            ('`weight`: more than the pool has takes it whole', batch([bash('mkdir l && sleep .02 && rmdir l', weight=60000)] * 3),
             ops(OK, OK, OK)),
            ('`exclusive`: runs alone in its run', batch([bash('mkdir l && sleep .02 && rmdir l', exclusive=True)] * 3), ops(OK, OK, OK)),
            ('`independent`, `external`, `reads`, `writes`: hints', batch([
                bash('true', independent=True, external=True, reads=['a'], writes=['/b'])]), ops(OK)),
            ('`detach`: leave children running', detach),
            ('`output_cap` of an op', batch([bash('seq 30000', output_cap=20000)]), ops({'dropped_bytes': lambda n: n > 0})),
            ('`todo`: id of the item it drives', drives),
            ('`todo`: neither in the list nor set', lambda t: t.refuses('E_PARAMS', batch([bash('true', todo='ghost')]), 'todo', 'ghost')),
            ('`description`, `meta`: kept', batch([bash('true', description='d', meta=nested(8))]), ops(OK)),
            ('`meta` of an op nests at most 8 deep', lambda t: t.refuses(
                'E_LIMIT', batch([bash('true', meta=nested(9))]), 'messages[0].ops[0].meta')),
            ('unknown keys are refused, naming the key', lambda t: [
                t.refuses('E_PARAMS', b, where) for b, where in (
                    (batch([bash('true')], nmae=''), 'nmae'), (batch(message(bash('true'), alwyas=True)), 'messages[0].alwyas'),
                    (batch([bash('true')], [bash('true'), bash('true', retry=1)]), 'messages[1].ops[1].retry'),
                    (batch([bash('true', path='x')]), 'messages[0].ops[0].path'))]),
            ('A nil value counts as absent everywhere', batch([bash('true', id=None, needs=None, timeout=None)], name=None, key=None), ops(OK)),
            ('a wrong type names its path', lambda t: [
                t.refuses('E_PARAMS', batch([bash('true')], [bash('true', **{k: v})]), 'messages[1].ops[0].' + k)
                for k, v in (('cwd', 1), ('env', [1]), ('retries', 'x'), ('retries', True), ('ok_exits', [256]), ('weight', 0),
                             ('weight', 1.5), ('optional', 'yes'), ('stdin', 5), ('pty', 1), ('reads', 'a'), ('todo', 1))]),
        )

    def test_at_most_1_048_576_ops(self):
        # One array of ops over a few messages: 4 bytes an op is the least a frame can hold them in.
        op = {'kind': 'bash', 'command': ''}
        self.here = self.box.path()
        b = {'cwd': self.here, 'messages': [{'ops': [op] * 1048576}, {'ops': [op]}]}
        self.refused('E_LIMIT', 'batch.check', {'batch': b}, 'messages[1].ops')


# --- Kinds -----------------------------------------------------------------------------------------------------------

def limit(t):
    path = os.path.join(t.here, 'huge')
    with open(path, 'wb') as f:
        f.truncate((256 << 20) + 1)
    match(ops(failed('limit', error=lambda e: '256 MiB' in e), state='failed'), t.run_(batch([edit('huge', 'a', 'b')])))
    os.unlink(path)


def done_again(t):
    # What they did is there, and not stored when batchd is killed: the database takes no writes from the moment that they may start.
    with contextlib.closing(sqlite3.connect(os.path.join(t.box.state, 'batchd.db'), isolation_level=None, timeout=20 * SLOW)) as db:
        for n in range(40):
            new, old = 'new%d' % n, 'old%d' % n
            t.file(old, 'was')
            run = t.submit(batch([write(new, 'x', create_only=True), write(old, 'y', expect=sha('was'))]))
            db.execute('BEGIN IMMEDIATE')
            until(lambda: os.path.exists(os.path.join(t.here, new)) and t.file(old) == 'y', 'what they do')
            if not db.execute('SELECT count(*) FROM op WHERE run = ?', (run,)).fetchone()[0]:
                t.box.kill_daemon()
                break
            db.execute('ROLLBACK')      # they were faster
        else:
            t.fail('they are always faster')
    t.box.start()
    t.end(run, ops(OK, OK))


class Kinds(Table):
    def test_keys(self):
        self.go(
            ('`bash`, `command`: as bash -c command', lambda t: t.says(bash('echo {a,b} $0'), b'a b bash\n')),
            ('`bash`: also what begins with - or +', batch([bash('-x'), bash('+x'), bash('--'), bash('-c "exit 0"', shell='/bin/dash'),
                                                            bash('print(+1, "--")', shell='python3'), bash('-1', shell='python3')]),
             ops(*[failed('exit', exit=127)] * 4, OK, OK, state='failed')),
            ('`shell` names another', lambda t: t.says(bash('echo ${BASH_VERSION-none}', shell='/bin/dash'), b'none\n')),
            ('`stdin`: bytes', lambda t: t.says(bash('cat', stdin=b'\0\xff'), b'\0\xff')),
            ('`stdin`: `{file: path}`', lambda t: (t.file('in', 'abc'), t.says(exec_('cat', stdin={'file': 'in'}), b'abc'))),
            ('`pty`: a terminal', batch([bash('test -t 0 -a -t 1 -a -t 2', pty=True), exec_('sh', '-c', 'tty', pty=True)]), ops(OK, OK)),
            ('`exec`, `argv`: argv without a shell', lambda t: t.says(exec_('printf', '%s|', '$x', '*', ''), b'$x|*||')),
            ('`write`, `path`, `content`: makes parent folders', lambda t: (
                match(ops(OK), t.run_(batch([write('a/b/f', 'x')]))), t.assertEqual(t.file('a/b/f'), 'x'))),
            ('`mode` is a str of octal digits', batch([write('f', '', mode='4751')], [bash('test $(stat -c %a f) = 4751')]), ops(OK, OK)),
            ('`write` keeps the mode of the file it replaces', batch([bash('touch f; chmod 640 f')], [write('f', 'x')], [bash('test $(stat -c %a f) = 640')]),
             ops(OK, OK, OK)),
            ('`create_only`', batch([write('f', 'x', create_only=True)], [write('f', 'y', create_only=True)]), ops(OK, failed('conflict'), state='failed')),
            ('`create_only`: a file of the same content that somebody else wrote is a conflict', lambda t: (
                match(ops(OK), t.run_(batch([write('f', 'x', create_only=True)]))),
                match(ops(failed('conflict'), state='failed'), t.run_(batch([write('f', 'x', create_only=True)]))))),
            ('`create_only`, `expect`: done again after a crash, it sees its own content and is content', done_again),
            ('`expect` is the SHA-256 of what it replaces', batch(
                [write('f', 'x')], [write('f', 'y', expect=sha('x'))], [write('f', 'z', expect=sha('x'))]), ops(OK, OK, failed('conflict'), state='failed')),
            ('`expect` of something else: `conflict`, also where the content is there already', batch(
                [write('f', 'y')], [write('f', 'y', expect=sha('x'))]), ops(OK, failed('conflict'), state='failed')),
            ('`expect` (absent: `conflict`), and nothing is made', lambda t: (
                match(ops(failed('conflict'), state='failed'), t.run_(batch([write('d/f', 'y', expect=sha('x'))]))),
                t.assertEqual(os.listdir(t.here), []))),
            ('`append`', batch([write('f', 'a')], [write('f', 'b', append=True)], [bash('test $(cat f) = ab')]), ops(OK, OK, OK)),
            ('`write`: only regular or absent files (else `io`)', batch([write('/dev/null', 'x')], [write('/', 'x')], on_failure='continue'),
             ops(failed('io'), failed('io'), state='failed')),
            ('`write`: follows a final symlink', batch([bash('ln -s to link')], [write('link', 'x')], [bash('test -L link && cat to')]), ops(OK, OK, OK)),
            ('`edit`, `old`, `new`: replaces exactly one occurrence', batch(
                [write('f', 'aXbX')], [edit('f', 'X', '')], [bash('true')], on_failure='continue'), ops(OK, failed('conflict'), OK, state='failed')),
            ('`edit`: none: `conflict`', batch([write('f', '')], [edit('f', 'X', '')]), ops(OK, failed('conflict'), state='failed')),
            ('`all`: every one', batch([write('f', 'aXbX')], [edit('f', 'X', 'Y', all=True)], [bash('test $(cat f) = aYbY')]), ops(OK, OK, OK)),
            ('`limit`: a file too large for `edit`', limit),
            ("`read`, `offset`, `limit`: the bytes become the op's stdout", lambda t: (
                t.file('f', '0123456789'), t.says(read('f', offset=2, limit=3), b'234'))),
            ('`todos`: `replace` or `merge`, `mode`, `list`', lambda t: (
                match(ops(OK), t.run_(batch([todos({'id': 'a', 'content': 'A'}, list='kinds')]))),
                match(ops(OK), t.run_(batch([todos({'id': 'b', 'content': 'B'}, list='kinds', mode='merge')]))),
                match([{'id': 'a'}, {'id': 'b'}], t.box.call('todo.list', list='kinds')['todos']))),
            ('`kind` is required and one of these', lambda t: (
                t.refuses('E_PARAMS', batch([{'command': 'true'}]), 'messages[0].ops[0].kind'),
                t.refuses('E_PARAMS', batch([{'kind': 'perl'}]), 'messages[0].ops[0].kind', 'perl'))),
        )


# --- Order -----------------------------------------------------------------------------------------------------------

def serial_cancel(t):
    t.gate()
    run = t.submit(batch([bash(WAITING), bash('touch two'), bash('touch three'), bash('touch four')], order='serial'))
    t.began()
    t.box.call('run.cancel', run=run, op=3)
    t.open()
    t.end(run, ops(OK, OK, CANCELLED, SKIPPED, state='failed'))


class Order(Table):
    def test_sentences(self):
        self.go(
            ('todos, then files, then all others', batch([bash('cat new', todo='t'), write('new', 'x'), todos({'id': 't', 'content': 'T'})], list='order'),
             ops(OK, OK, OK)),
            ('an op with needs waits for those', batch([write('f', 'b', needs=['a']), bash('sleep .05', id='a'), bash('test ! -e f')]), ops(OK, OK, OK)),
            ('two file-changing ops on one file: refused', lambda t: t.refuses(
                'E_CONFLICT', batch([write('f', 'a'), read('f'), edit('./x/../f', 'a', 'b')]), 'messages[0].ops[2].path', 'messages[0].ops[0]')),
            ('a file and a folder above it: refused', lambda t: (
                t.refuses('E_CONFLICT', batch([write('d', 'a'), write('d//e/f', 'b')]), 'messages[0].ops[1].path'),
                t.refuses('E_CONFLICT', batch([write('d/e/f', 'a'), write(t.here + '/d/', 'b')]), 'messages[0].ops[1].path'))),
            ('unless one needs the other', batch([write('f', 'a', id='a'), edit('f', 'a', 'b', needs=['a'])]), ops(OK, OK)),
            ('names that only begin alike are no conflict', batch([write('f', 'a'), write('f.x', 'a'), write('fx/y', 'a')]), ops(OK, OK, OK)),
            ('serial: everything in the order written', batch([write('f', 'a'), bash('cp f g'), write('f', 'b'), bash('test $(cat g f | tr -d "\\n") = ab')], order='serial'),
             ops(OK, OK, OK, OK)),
            ('serial: after a failure nothing later does', batch([bash('false'), write('f', ''), bash('true')], order='serial'),
             ops(failed('exit'), SKIPPED, SKIPPED, state='failed')),
            ('serial: unless on_failure continue', batch([bash('false'), bash('true')], order='serial', on_failure='continue'),
             ops(failed('exit'), OK, state='failed')),
            ('serial: an op that is cancelled ahead of its turn ends what comes after it, not what comes before', serial_cancel),
        )


# --- States ----------------------------------------------------------------------------------------------------------

def restart_failed(t):
    run = t.run_(batch([bash('echo a >> f', id='a'), bash('test -e there')], [bash('true')], name='again'))
    match(ops(OK, failed('exit'), SKIPPED, state='failed'), run)
    t.file('there', '')
    again = t.box.call('run.restart', run=run['run'], failed=True)['run']
    t.end(again, ops({'state': 'succeeded', 'cause': 'reused'}, OK, OK, origin=run['run'], name='again'))
    t.assertEqual(t.file('f'), 'a\n')
    once_more = t.box.call('run.restart', run=run['run'])['run']
    t.end(once_more, ops(OK, OK, OK, origin=run['run']))


def states_of_an_op(t):
    t.gate()
    t.box.call('group.set', group='states', slots=1)
    run = t.submit(batch([bash(WAITING, id='a'), bash('true'), bash('true', needs=['a'])]), group='states')
    t.began()
    until(lambda: t.box.get(run)['ops'][0]['state'] == 'running', 'running')
    match({'state': 'running', 'ops': [{'state': 'running', 'pid': lambda p: p > 1}, {'state': 'ready'}, {'state': 'waiting'}]}, t.box.get(run))
    t.open()
    t.end(run, ops(OK, OK, OK))


def lost(t):
    run = t.submit(batch([bash('touch began; exec sleep 60')]))
    t.began()
    spawner = t.box.spawner_pid()
    pid = t.box.get(run)['ops'][0]['pid']
    t.box.kill_daemon()
    os.kill(spawner, 9)
    os.kill(pid, 9)
    until(lambda: not alive(spawner) and not alive(pid), 'the end of all who could know')
    t.box.start()
    t.end(run, ops({'state': 'interrupted', 'cause': 'lost', 'exit': None, 'started': lambda s: s, 'duration_ms': None}, state='interrupted'))
    said = t.box.ctl('wait', run, check=1).errors
    assert 'nobody can know how it ended' in said and ', after' not in said, said


def one_duration(t):
    # Also where batchd had not looked at the clock for a while, as under a burst of writes.
    runs = [t.submit(batch([write('d%d/f' % i, 'x' * 100000)], [bash('true')] * 5)) for i in range(20)]
    for run in runs:
        t.box.wait(run)
        got = t.box.get(run)
        t.assertEqual(got['summary']['wall_ms'], got['ended'] - got['started'])


def restart_of_a_run_that_needed_another(t):
    # What it waited for and has ended is of its first time; what has not ended it still waits for.
    t.gate()
    bad, going = t.submit(batch([bash('false')])), t.submit(batch([bash(WAITING)]))
    t.box.wait(bad)
    run = t.submit(batch([bash('true')]), needs_runs=[bad, going], after_any_runs=[bad])
    t.box.call('run.cancel', run=run)
    t.box.wait(run)
    again = t.box.call('run.restart', run=run)['run']
    match({'state': 'queued'}, t.box.get(again))
    t.open()
    t.end(going, ops(OK))
    t.end(again, ops(OK))
    once_more = t.box.call('run.restart', run=run)['run']
    t.end(once_more, ops(OK))
    match({'forgotten': 1}, t.box.call('run.forget', run=going))
    t.end(t.box.call('run.restart', run=again)['run'], ops(OK))


def restart_cleans_up_again(t):
    # What cleans up comes after the new work, whatever came of it the first time; a message says what its ops say.
    run = t.run_(batch([bash('echo work >> log; test -e there')], [bash('true')], message(bash('echo clean >> log'), always=True)))
    match(ops(failed('exit'), SKIPPED, OK, state='failed'), run)
    t.file('there', '')
    again = t.box.call('run.restart', run=run['run'], failed=True)
    match({'reused': 0}, again)
    t.end(again['run'], ops(OK, OK, OK, messages=[{'state': 'succeeded'}] * 3))
    t.assertEqual(t.file('log'), 'work\nclean\n' * 2)


def restart_of_a_message_that_succeeded(t):
    run = t.run_(batch([bash('test -e there')], [bash('true'), bash('true')], on_failure='continue'))
    match(ops(failed('exit'), OK, OK, state='failed'), run)
    t.file('there', '')
    again = t.box.call('run.restart', run=run['run'], failed=True)['run']
    t.end(again, ops(OK, *[{'state': 'succeeded', 'cause': 'reused'}] * 2, messages=[{'state': 'succeeded'}] * 2))


NOTHING_YET = {'cause': None, 'exit': None, 'signal': None, 'ended': None, 'duration_ms': None, 'error': None, 'lingering': 0}


def tries(t):
    # What it says while it waits and runs is not of the try before.
    t.gate()
    run = t.submit(batch([bash('echo said; test $BATCHD_ATTEMPT = 3 || exit 9; touch began; read x < gate', retries=2, retry_delay=.5)]))
    waiting = until(lambda: [o for o in t.box.get(run)['ops'] if o['state'] == 'waiting' and o['attempts']], 'the retry delay')
    match([dict(NOTHING_YET, started=None, pid=None, stdout_bytes=0)], waiting)
    t.began()
    until(lambda: t.box.get(run)['ops'][0]['stdout_bytes'], 'what it says')
    now = ops(dict(NOTHING_YET, state='running', attempts=3, pid=lambda p: p > 1, started=lambda s: s, stdout_bytes=5), state='running')
    match(now, t.box.get(run))
    t.box.restart()
    match(now, t.box.get(run))
    t.open()
    t.end(run, ops(dict(OK, attempts=3, exit=0)))


def events_of_tries(t):
    with t.box.connect() as r:
        run = t.submit(batch([bash('test $BATCHD_ATTEMPT = 2 || exit 9', retries=1, retry_delay=0)]), held=True)
        r.call('run.subscribe', run=run)
        t.box.call('run.resume', run=run)
        seen = []
        while not seen or seen[-1]['state'] != 'succeeded':
            seen.append(r.wait_event(lambda e: e['type'] == 'op.state'))
        t.assertEqual([e['attempts'] for e in seen], [1, 1, 2, 2], seen)
        for e in seen[:-1]:
            match(NOTHING_YET, e)


def time_of_all_tries(t):
    spends = 'sleep .3; test $BATCHD_ATTEMPT = 3'
    run = t.submit(batch([bash(spends + ' || exit 9; touch began; sleep .3', retries=2, retry_delay=0)]))
    t.began()
    t.box.restart()
    t.end(run, ops(OK, summary={'serial_ms': lambda n: n >= 1200, 'critical_ms': lambda n: n >= 1200}))
    # Given up between two tries: the last counts once.
    run = t.submit(batch([bash('touch tried; sleep .3; exit 9', retries=1, retry_delay=60)]))
    until(lambda: t.box.get(run)['ops'][0]['state'] == 'waiting' and t.box.get(run)['ops'][0]['attempts'], 'the retry delay')
    t.box.call('run.cancel', run=run)
    t.box.wait(run)
    got = t.box.get(run)
    t.assertEqual(got['summary']['serial_ms'], got['ops'][0]['duration_ms'])


def given_up_over_kill_9(t):
    # Between two tries batchd is killed; what the last try said stands when there is no more.
    run = t.submit(batch(message(bash('exit 9', retries=1, retry_delay=60), timeout=2)))
    until(lambda: t.box.get(run)['ops'][0]['state'] == 'waiting' and t.box.get(run)['ops'][0]['attempts'], 'the first try')
    t.box.call('run.pause', run=run)
    t.box.restart()
    t.end(run, ops(failed('exit', exit=9, attempts=1, started=lambda s: s, ended=lambda s: s), state='failed'))


def tried_again_over_kill_9(t):
    # Its first try was told to end, and has; that is not asked of the next.
    run = t.submit(batch([bash('touch began; test $BATCHD_ATTEMPT = 2 || exec sleep 60', retries=1, retry_delay=5, timeout=2)]))
    until(lambda: t.box.get(run)['ops'][0]['state'] == 'waiting' and t.box.get(run)['ops'][0]['attempts'], 'the end of the first try')
    t.box.call('group.set', group='again', slots=2)     # stored after that
    t.box.restart()
    t.end(run, ops(dict(OK, attempts=2)))


class States(Table):
    def test_sentences(self):
        self.go(
            ('op: `waiting`, `ready`, `running`', states_of_an_op),
            ('run: `queued`, `running`, `paused`, `succeeded`', lambda t: (held(t), needs_runs_again(t))),
            ('cause `exit`: not in `ok_exits`', batch([bash('exit 7')]), ops(failed('exit', exit=7), state='failed')),
            ('cause `signal`', batch([bash('kill -SEGV $$')]), ops(failed('signal', exit=None, signal='SIGSEGV'), state='failed')),
            ('cause `timeout`: exit is nil', batch([bash('trap "exit 3" TERM; sleep 60 & wait', timeout=.2)]), ops(failed('timeout', exit=None), state='failed')),
            ('cause `cancel`: an op that ended by itself when told to keeps its exit', cancelled_keeps_its_end),
            ('cause `cancel`: what was cancelled is no success in the foreground either', cancelled_in_the_foreground),
            ("cause `start`: nothing was executed; bash's own 127 is an `exit`", batch(
                [exec_('./no'), bash('true', cwd='no'), bash('true', shell='no'), bash('./no')]),
             ops(failed('start', exit=None), failed('start'), failed('start'), failed('exit', exit=127), state='failed')),
            ('cause `conflict`, `io`', batch([write('f', '')], [edit('f', 'x', 'y'), read('no')]), ops(OK, failed('conflict'), failed('io'), state='failed')),
            ('cause `dependency`', batch([bash('false')], [bash('true')]), ops(failed('exit'), SKIPPED, state='failed')),
            ('cause `reused`: restart --failed takes over what succeeded; a new run with `origin`', restart_failed),
            ('an op that is tried again has not ended', tries),
            ('... and its events do not say so', events_of_tries),
            ('`serial_ms` is of all tries', time_of_all_tries),
            ('an op that is not tried again after a crash says what its last try said', given_up_over_kill_9),
            ('an op whose first try timed out is tried again also over kill -9', tried_again_over_kill_9),
            ('`wall_ms`: from its start to its end, as its times say', one_duration),
            ('restart: the runs it needed count as far as they have not ended', restart_of_a_run_that_needed_another),
            ('restart --failed: what cleans up does so again', restart_cleans_up_again),
            ('a message that is taken over whole has succeeded', restart_of_a_message_that_succeeded),
            ('`cancelled` before `interrupted` before `failed`', lambda t: cancelled_after_failure(t)),
            ('`failed` also under continue', batch([bash('false')], [bash('true')], on_failure='continue'), {'state': 'failed'}),
            ('`failed` if an op was cancelled', lambda t: cancelled_op(t, {}, 'failed')),
            ('`succeeded` if only an optional one was', lambda t: cancelled_op(t, {'optional': True}, 'succeeded')),
            ('what its own `always` message failed is not forgotten', batch([bash('true')], message(bash('false'), always=True)), {'state': 'failed'}),
            ('`interrupted`/`lost` only where nobody can know', lost),
        )


def needs_runs_again(t):
    os.mkdir(t.here + '/again')
    t.here += '/again'
    needs_runs(t)


def cancelled_after_failure(t):
    run = t.submit(batch([bash('touch began; false'), bash('exec sleep 60')]))
    until(lambda: t.box.get(run)['ops'][0]['state'] == 'failed', 'a failure')
    t.box.call('run.cancel', run=run)
    t.end(run, ops(failed('exit'), CANCELLED, state='cancelled'))


TRAPS = 'trap "exit 3" TERM; touch began%d; sleep 60 & wait'


def cancelled_keeps_its_end(t):
    # exit is nil only after a timeout.
    run = t.submit(batch([bash(TRAPS % 1), bash('touch began2; exec sleep 60'), bash('exit 9', retries=1, retry_delay=60)]))
    for i in (1, 2):
        t.began('began%d' % i)
    until(lambda: t.box.get(run)['ops'][2]['attempts'] == 1 and t.box.get(run)['ops'][2]['state'] == 'waiting', 'the retry delay')
    t.box.call('run.cancel', run=run)
    t.end(run, ops(dict(CANCELLED, exit=3, signal=None), dict(CANCELLED, exit=None, signal='SIGTERM'), dict(CANCELLED, exit=None, signal=None),
                   state='cancelled'))


def cancelled_in_the_foreground(t):
    with t.box.ctl_start('run', '--', 'trap "exit 0" TERM; touch began; sleep 60 & wait', cwd=t.here) as p:
        t.began()
        run = t.box.call('run.list', limit=1)['runs'][0]['run']
        t.box.call('run.cancel', run=run)
        t.assertIn('run %d cancelled' % run, p.communicate()[1].decode())
        t.assertEqual(p.returncode, 1)
    t.end(run, ops(dict(CANCELLED, exit=0), state='cancelled'))


def cancelled_op(t, keys, state):
    run = t.submit(batch([bash('touch began; exec sleep 60', **keys)]))
    t.began()
    t.box.call('run.cancel', run=run, op=1)
    t.end(run, ops(CANCELLED, state=state))


# --- Processes and Output --------------------------------------------------------------------------------------------

LEAVES = '(setsid sleep 60 > /dev/null 2>&1 & echo $! > pid%s)'


def lingering_by_id(t):
    # More than one op at a time, each with an id: what they leave is known as theirs.
    run = t.run_(batch([bash((LEAVES % i) + '; sleep .2', id='op%d' % i) for i in range(4)]))
    match(ops(*[dict(OK, lingering=1)] * 4), run)
    assert not any(alive(int(t.file('pid%d' % i))) for i in range(4))


def holds_the_pipe(t):
    run = t.run_(batch([bash('sleep 60 & echo $! > pid; echo said', id='a'), bash('kill -0 $(cat pid)', after_any=['a'])]))
    match({'ops': [dict(OK, lingering=1), failed('exit', exit=1)]}, run)
    t.assertEqual(t.box.output(run['run'], 1), b'said\n')


def environment(t):
    run = t.run_(batch([bash('true'), bash('echo $BATCHD_SOCKET $BATCHD_RUN $BATCHD_OP $BATCHD_ATTEMPT $BATCHD_LIST $PWD', id='me',
                                           env={'BATCHD_RUN': 'lie', 'PWD': '/'})], list='l'))
    t.assertEqual(t.box.output(run['run'], 2).decode().split(), [t.box.socket, str(run['run']), '2', '1', 'l', t.here])


def tree_is_ended(t):
    run = t.submit(batch([bash('trap "" TERM; sleep 60 & echo $! > a; setsid sleep 60 & echo $! > b; touch began; while :; do sleep .05; done')]))
    t.began()
    t.box.call('run.cancel', run=run, grace='300ms')
    t.end(run, ops(dict(CANCELLED), state='cancelled'))
    got = t.box.get(run)['ops'][0]
    assert got['duration_ms'] >= 300 and not alive(int(t.file('a'))) and not alive(int(t.file('b'))), got


GONE = '''import os, socket, sys, time
c = socket.socket(socket.AF_UNIX); c.connect(os.environ['BATCHD_SOCKET']); c.sendall(bytes.fromhex(sys.argv[1])); c.recv(9)
open('connected', 'w').close()
while not os.path.exists('go'): time.sleep(.01)
c.sendall(bytes.fromhex(sys.argv[2]))'''


def submitted_by_one_that_is_gone(t):
    """It has connected, then sends its batch and ends while batchd is stopped."""
    frames = [msgpack.packb([0, i, method, [params]]).hex() for i, (method, params) in enumerate((
        ('rpc.hello', {'client': 'x'}), ('batch.submit', {'batch': batch([bash('exec sleep 60')], name='inner', cwd=t.here)})))]
    outer = t.submit(batch([bash("python3 -c '%s' %s %s; touch gone; exec sleep 60" % (GONE.replace("'", "'\\''"), *frames))]))
    until(lambda: os.path.exists(t.here + '/connected'), 'its connection')
    pid = t.box.call('daemon.status')['pid']
    os.kill(pid, signal.SIGSTOP)
    t.file('go', '')
    until(lambda: os.path.exists(t.here + '/gone'), 'its end')
    os.kill(pid, signal.SIGCONT)
    inner = until(lambda: t.box.call('run.list', name='inner')['runs'], 'its run')[0]
    match({'parent': outer}, inner)
    t.box.call('run.cancel', run=outer)
    t.end(inner['run'], {'state': 'cancelled'})


class Processes(Table):
    def test_sentences(self):
        self.go(
            ('stdin is /dev/null unless given', lambda t: t.says(exec_('readlink', '/proc/self/fd/0'), b'/dev/null\n')),
            ('each op is its own session and process group', lambda t: t.says(
                bash('read -r p _ _ _ pg s _ < /proc/self/stat; test $p = $pg -a $p = $s && echo yes'), b'yes\n')),
            ('it has descriptors 0 to 2 only', lambda t: t.says(bash('echo /proc/self/fd/*'), b'/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n')),
            ('signals are blocked and ignored for none', lambda t: t.says(
                exec_('grep', '-Ec', '^Sig(Blk|Ign):.0+$', '/proc/self/status'), b'2\n')),
            ('stopping is TERM, a grace time, KILL, for the whole tree', tree_is_ended),
            ('a child that holds its pipe does not keep the op open; only then what waits for it starts', holds_the_pipe),
            ('what still lives is counted in `lingering` and ended', lingering_by_id),
            ("a program without a slash is looked up in the op's PATH", lambda t: (
                t.file('own', '#!/bin/sh\necho own\n'), os.chmod(t.here + '/own', 0o755), t.says(exec_('own', env={'PATH': t.here}), b'own\n'))),
            ('`BATCHD_SOCKET`, `BATCHD_RUN`, `BATCHD_OP`, `BATCHD_ATTEMPT`, `BATCHD_LIST`, and `PWD` = cwd', environment),
            ('a run submitted from inside an op has it as `parent`', lambda t: (
                match(ops(OK), t.run_(batch([bash('batchctl submit -w -e true > id 2> /dev/null', id='x')]))),
                match({'parent': lambda p: p and p < int(t.file('id'))}, t.box.get(int(t.file('id')))))),
            ('... also when who submits it is gone before it is read', submitted_by_one_that_is_gone),
            ('a run restarted from inside an op has it as `parent` too', lambda t: (
                match(ops(OK), t.run_(batch([bash('id=$(batchctl submit -e true) && batchctl wait $id 2> /dev/null && '
                                                  'batchctl rpc run.restart "{\\"run\\": $id}" > again')]))),
                match({'parent': lambda p: p}, t.box.call('run.list', limit=1)['runs'][0]))),
            ('stdout and stderr are kept apart, byte-exact', lambda t: match(ops(
                {'stdout_bytes': 3, 'stderr_bytes': 2}), t.run_(batch([bash(r"printf '\0\377x'; printf ab >&2")])))),
        )

    def test_signals_that_batchd_itself_was_started_without(self):
        # As under nohup(1) and by careless parents: what ops get is the default all the same.
        import signal
        self.box.stop_quietly()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGTERM])
        hup, usr2 = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        try:
            self.box.start()
        finally:
            signal.signal(signal.SIGHUP, hup), signal.signal(signal.SIGUSR2, usr2)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.here = self.box.work
        self.says(exec_('grep', '-Ec', '^Sig(Blk|Ign):.0+$', '/proc/self/status'), b'2\n')
        self.box.disconnect()
        os.kill(self.box.daemon_pid(), signal.SIGTERM)
        self.assertEqual(self.box.daemon.wait(PATIENCE), 0)


class Whole(unittest.TestCase):
    NAMES = '''messages cwd env_base env name key on_failure order group priority jobs timeout needs_runs after_any_runs held not_before
        list output_cap umask meta ops always id needs after_any retries retry_delay ok_exits optional weight exclusive independent external
        reads writes detach todo description bash command stdin shell pty exec argv write path content mode create_only expect append edit
        old new all read offset limit todos kind queued running paused succeeded failed cancelled interrupted waiting ready exit signal
        timeout start conflict io dependency reused lost lingering BATCHD_SOCKET BATCHD_RUN BATCHD_OP BATCHD_ATTEMPT BATCHD_LIST PWD
        parent origin order_used'''.split()

    def test_every_name_has_a_row(self):
        with open(__file__) as f:
            said = set(re.findall(r'`([A-Za-z_]+)`', f.read()))
        self.assertEqual([n for n in self.NAMES if n not in said], [])


if __name__ == '__main__':
    unittest.main()
