"""
The batches of a chaos run: random, and each op with what is known about it before it runs: its effect, its output, how it may end.

An op's name is TAG-INDEX. Each attempt of a command appends one line RUN.OP.ATTEMPT to effects/NAME; what it prints follows from its
name, so that any part of it can be held against what is expected.
"""
from harness import bash, batch, edit, exec_, message, read, todos, write

FIXTURE = b''.join(b'%d of what is read\n' % i for i in range(9000))
LEFT, DETACHED = 'chaos-left', 'chaos-detached'     # argv[0] of the children that ops leave behind


def effect(name):
    return 'echo "$BATCHD_RUN.$BATCHD_OP.$BATCHD_ATTEMPT" >> effects/%s; ' % name


def filled(name, size):
    """`size` bytes that nobody else prints."""
    line = b'%s prints this over and over\n' % name.encode()
    return (line * (size // len(line) + 1))[:size]


def printing(name, size, to=''):
    return "yes '%s prints this over and over' | head -c %d%s; " % (name, size, to)


class Plan:
    """What is known about an op: `ends` are the (state, cause) it comes to when nobody disturbs it."""

    def __init__(self, op, name, ends=('succeeded', None), out=None, err=b'', attempts=1, effect=True, **more):
        self.op, self.name, self.ends, self.out, self.err, self.attempts, self.effect = op, name, ends, out, err, attempts, effect
        self.dropped = more.get('dropped', 0)       # bytes printed of which the middle is dropped
        self.nested = more.get('nested', False)     # prints the run id of a batch that it submits, whose effect is in effects/NAMEn
        self.file = more.get('file')                # (path, content) that is there when it succeeded
        self.append = more.get('append')
        self.lingering = more.get('lingering', False)


# --- ops, one function a kind: (random, name, index) -> Plan ---------------------------------------------------------

def plain(r, name):
    return Plan(bash(effect(name) + 'echo ' + name), name, out=name.encode() + b'\n')


def slow(r, name):
    return Plan(bash(effect(name) + 'echo a; sleep %.2f; echo b' % r.uniform(0.05, 1.5)), name, out=b'a\nb\n')


def big(r, name):
    size, err = int(10 ** r.uniform(2, 6.5)), r.randrange(30000)
    return Plan(bash(effect(name) + printing(name, size) + printing(name, err, ' >&2')), name, out=filled(name, size), err=filled(name, err))


def talker(r, name):
    n = r.randrange(5, 40)
    return Plan(bash(effect(name) + 'for i in {1..%d}; do echo $i; sleep .03; done' % n), name,
                out=b''.join(b'%d\n' % i for i in range(1, n + 1)))


def again(r, name):
    tries = r.randrange(2, 4)
    return Plan(bash(effect(name) + 'echo tried; test $BATCHD_ATTEMPT -ge %d || exit 9' % tries, retries=tries + 2,
                     retry_delay='%dms' % r.randrange(300)), name, out=b'tried\n', attempts=tries)


def failing(r, name):
    return Plan(bash(effect(name) + 'echo no; exit 3', optional=r.random() < 0.3, retries=r.randrange(2), retry_delay=0), name, ('failed', 'exit'),
                out=b'no\n')


def dying(r, name):
    return Plan(bash(effect(name) + 'echo so; kill -9 $$'), name, ('failed', 'signal'), out=b'so\n')


def unstartable(r, name):
    return Plan(exec_('/nowhere/' + name), name, ('failed', 'start'), out=b'', effect=False)


def overdue(r, name):
    return Plan(bash(effect(name) + 'sleep 100', timeout='%dms' % r.randrange(100, 900)), name, ('failed', 'timeout'))


def leaving(r, name):
    """Leaves a child of its own session; one that does not heed TERM now and then."""
    deaf = 'trap "" TERM; ' if r.random() < 0.3 else ''
    holds = '' if r.random() < 0.3 else ' >/dev/null 2>&1'
    child = "setsid bash -c '%sexec -a %s-%s sleep 300' </dev/null%s & " % (deaf, LEFT, name, holds)
    return Plan(bash(child + effect(name) + 'echo left'), name, out=b'left\n', lingering=True)


def detaching(r, name):
    child = "setsid bash -c 'exec -a %s-%s sleep 3' </dev/null >/dev/null 2>&1 & " % (DETACHED, name)
    return Plan(bash(child + effect(name) + 'echo gone', detach=True), name, out=b'gone\n')


def capped(r, name):
    size = r.randrange(200000, 600000)
    return Plan(bash(effect(name) + printing(name, size), output_cap=65536), name, dropped=size)


def fed(r, name):
    data = filled(name, r.randrange(100000))
    return Plan(bash(effect(name) + 'cat', stdin=data), name, out=data)


def argv(r, name):
    return Plan(exec_('printf', '%s|', name, 'a b', '$x'), name, out=b'%s|a b|$x|' % name.encode(), effect=False)


def terminal(r, name):
    return Plan(bash(effect(name) + 'test -t 1 && echo tty', pty=True), name, out=b'tty\r\n')


def nested(r, name):
    inner = effect(name + 'n') + 'sleep %.2f' % r.uniform(0, 0.8)
    return Plan(bash(effect(name) + "batchctl submit --key %s-$BATCHD_RUN-$BATCHD_ATTEMPT %s -e '%s'" % (name, r.choice(('', '-w')), inner)),
                name, nested=True, err=None)


def writing(r, name):
    data = filled(name, r.randrange(50000))
    return Plan(write('files/' + name, data), name, effect=False, file=('files/' + name, data))


def appending(r, name):
    return Plan(write('files/%s.log' % name, name + '\n', append=True), name, effect=False, append='files/%s.log' % name)


def reading(r, name):
    at, size = r.randrange(1000), r.randrange(len(FIXTURE))
    return Plan(read('fixture', offset=at, limit=size), name, out=FIXTURE[at:at + size], effect=False)


KINDS = ((plain, 10), (slow, 5), (big, 5), (talker, 3), (again, 4), (failing, 2), (dying, 1), (unstartable, 1), (overdue, 2), (leaving, 2),
         (detaching, 1), (capped, 1), (fed, 1), (argv, 1), (terminal, 1), (nested, 2), (writing, 4), (appending, 1), (reading, 2))


# --- batches ---------------------------------------------------------------------------------------------------------

class Asked:
    """A batch as it was asked for, under the key `tag`."""

    def __init__(self, tag, batch, plans):
        self.tag, self.batch, self.plans = tag, batch, plans       # plans in the order of op indexes
        self.strict = 'timeout' not in batch                       # nothing but the ops decides how they end
        self.fails = any(p.ends[0] != 'succeeded' for p in plans)
        self.named = batch.get('needs_runs', []) + batch.get('after_any_runs', [])


def make_message(r, tag, plans):
    """Random ops; some drive a todo of the same name, which the message writes itself; some wait for an earlier one."""
    begun, items = len(plans), []
    chain = r.random() < 0.15       # of short ones, each after the one before
    for _ in range(r.randrange(8, 40) if chain else r.choice((1, 2, 3, 3, 5, 8))):
        kind = r.choices((plain, argv, again, failing), (30, 30, 1, 1))[0] if chain else r.choices([k for k, _ in KINDS], [w for _, w in KINDS])[0]
        plan = kind(r, '%s-%d' % (tag, len(plans) + 1))
        plan.op['id'] = 'o%d' % (len(plans) + 1)
        if len(plans) > begun and chain:
            plan.op['needs'] = [plans[-1].op['id']]
        elif len(plans) > begun and r.random() < 0.2:
            plan.op[r.choice(('needs', 'after_any'))] = [r.choice(plans[begun:]).op['id']]
        if r.random() < 0.15:
            plan.op['todo'] = plan.name
            items.append({'id': plan.name, 'content': plan.name})
        if r.random() < 0.05:
            plan.op[r.choice(('exclusive', 'independent'))] = True
        plans.append(plan)
    first = plans[begun]
    if first.file and r.random() < 0.5:
        old, new = first.file[1], b'edited\n'
        if old:
            name = '%s-%d' % (tag, len(plans) + 1)
            plans.append(Plan(edit(first.file[0], old, new, id='o%d' % (len(plans) + 1), needs=[first.op['id']]), name, effect=False,
                              file=(first.file[0], new)))
            first.file = None
    if items:
        plans.append(Plan(todos(*items, mode='merge'), '%s-%d' % (tag, len(plans) + 1), effect=False))
    m = message(*[p.op for p in plans[begun:]])
    if r.random() < 0.2:
        m['order'] = r.choice(('parallel', 'as-if-serial', 'serial'))
        if m['order'] != 'parallel' and items:      # in the order written: the items come first, and nothing waits for what is later
            m['ops'].insert(0, m['ops'].pop())
            plans.insert(begun, plans.pop())
    return m


def make(r, tag, ended):
    """A random batch, as an Asked. `ended`: runs it may name in needs_runs and after_any_runs."""
    plans = []
    messages = [make_message(r, tag, plans) for _ in range(r.choice((1, 1, 2, 3)))]
    if len(messages) > 1 and r.random() < 0.3:
        messages[-1]['always'] = True
    b = batch(*messages, key=tag, list='driven', name='n-' + tag)
    choices = (('order', ('serial', 'as-if-serial'), .05), ('on_failure', ('continue', 'kill'), .2), ('group', ('a', 'b'), .3),
               ('priority', (-1, 1, 5), .2), ('jobs', (1, 2, 3), .2), ('held', (True,), .05), ('timeout', ('700ms', '2s'), .04))
    for key, values, chance in choices:
        if r.random() < chance:
            b[key] = r.choice(values)
    if b.get('order') and any(p.op['kind'] == 'todos' for p in plans):
        del b['order']
    if ended and r.random() < 0.1:
        b[r.choice(('needs_runs', 'after_any_runs'))] = [r.choice(ended)]
    return Asked(tag, b, plans)
