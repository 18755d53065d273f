"""
The row web: the first example of design notes (tests/examples/web.batch), each command one that takes a second, a message at a time as
agents do it without a batch, and as one batch.
"""
import os

from measure import Line, alternate, median, ratios, seconds
from world import ROOT, World

EXAMPLES = os.path.join(ROOT, 'tests', 'examples')
SLOTS = 16      # the largest message has nine ops; two cores would have eight slots


def example(world):
    """The example as batchctl reads it."""
    with open(os.path.join(EXAMPLES, 'web', 'defines')) as f:
        pairs = [line.strip().split('=', 1) for line in f if '=' in line]
    defines = [x for name, file in pairs for x in ('--define', '%s=@%s' % (name, os.path.join(EXAMPLES, 'web', file)))]
    return world.ctl('parse', *defines, os.path.join(EXAMPLES, 'web.batch'), check=0).json


def slowed(b, second, kinds):
    """The batch with each op of these kinds replaced by a command that takes `second`."""
    def op(o):
        return {'kind': 'bash', 'command': 'exec sleep %g' % second} if o['kind'] in kinds else o
    return dict(b, messages=[dict(m, ops=[op(o) for o in m['ops']]) for m in b['messages']])


def one_by_one(b):
    """A batch for each op."""
    return [dict(b, messages=[{'ops': [o]}]) for m in b['messages'] for o in m['ops']]


def by_shell(b):
    """The commands as a shell starts them together, a message after the other: the longest path, on this machine as it is now."""
    return '; '.join(''.join('(%s) & ' % o['command'] for o in m['ops'] if o['kind'] == 'bash') + 'wait' for m in b['messages'])


def web_lines(o, w, what, kinds, goal):
    b = slowed(example(w), o.second, kinds)
    b.pop('cwd', None)
    whole = w.batch_file('web.json', b)
    parts = [w.batch_file('web.%d.json' % i, part) for i, part in enumerate(one_by_one(b))]
    script = by_shell(b)
    got = alternate(o.rounds, {
        'shell': lambda: w.shell(script).wall,
        'parts': lambda: sum(w.ctl_time('submit', '--wait', '-q', part).wall for part in parts),
        'whole': lambda: w.ctl_time('submit', '--wait', '-q', whole).wall}, warm=False)
    yield Line('web', '%s: %d messages against one batch' % (what, len(parts)), ratios(got['parts'], got['whole']), goal,
               seconds(median(got['whole'])), seconds(median(got['parts'])), 'x')
    yield Line('web', '%s: against the longest path' % what, ratios(got['whole'], got['shell']), ('<=', 1.05),
               seconds(median(got['whole'])), seconds(median(got['shell'])))


def web(o):
    """the web example, op by op and as one batch"""
    with World('slots = %d\n' % SLOTS) as w:
        w.start()
        yield from web_lines(o, w, 'each op a second', ('bash', 'write', 'todos'), ('>=', 6))
        yield from web_lines(o, w, 'each command a second', ('bash',), None)


ROWS = {'web': web}
