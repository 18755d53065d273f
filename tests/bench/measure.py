"""
How things are measured here: what is compared is run in turn (limit, ours, limit, ours...), so that whatever else the machine does
meanwhile meets all of them alike; each round gives one ratio, and the median of the ratios is told with the least and the greatest.
"""
import os
import statistics
import sys

TICK = os.sysconf('SC_CLK_TCK')


def note(text):
    print('# ' + text, file=sys.stderr, flush=True)


def alternate(rounds, sides, warm=True):
    """
    Runs `sides` (name: function) in turn and gathers what they return: {name: [value of each round]}. With `warm` a round goes ahead
    that does not count.
    """
    got = {name: [] for name in sides}
    for i in range(-1 if warm else 0, rounds):
        for name, side in sides.items():
            value = side()
            if i >= 0:
                got[name].append(value)
    return got


def best(*series):
    """The least of each round: of several limits the one that is hardest to reach."""
    return [min(values) for values in zip(*series)]


def median(values):
    return statistics.median(values)


def quantile(values, q):
    """The value that a share q of them does not exceed."""
    return sorted(values)[min(len(values) - 1, int(len(values) * q))]


def ratios(a, b):
    """a/b of each round."""
    return [x / y if y else float('inf') for x, y in zip(a, b)]


class Line:
    """
    A line of the table: `ratio` is a list of one figure a round. `goal` is ('>=' or '<=' or '<', figure) or None; it is compared with
    the median and told, never asserted: the suite fails when something cannot be measured, not when it is slow.
    """

    def __init__(self, row, what, ratio, goal=None, ours='', limit='', unit='', note=''):
        self.row, self.what, self.goal, self.ours, self.limit, self.unit, self.note = row, what, goal, ours, limit, unit, note
        self.ratio = list(ratio)

    @property
    def reached(self):
        if self.goal is None:
            return None
        sign, figure = self.goal
        value = median(self.ratio)
        return value >= figure if sign == '>=' else value <= figure if sign == '<=' else value < figure

    def as_json(self):
        return dict(row=self.row, what=self.what, ours=self.ours, limit=self.limit, unit=self.unit, ratio=self.ratio,
                    median=median(self.ratio), goal=None if self.goal is None else ' '.join(map(str, self.goal)),
                    reached=self.reached, note=self.note)


def figure(x):
    """Three digits that matter."""
    if x == 0:
        return '0'
    digits = 2 if abs(x) < 10 else 1 if abs(x) < 100 else 0
    return '%.*g' % (2, x) if abs(x) < 0.1 else '%.*f' % (digits, x)


def seconds(s):
    """A time as people read it; always beside a ratio, never instead of one."""
    for unit, size in (('s', 1), ('ms', 1e-3), ('us', 1e-6)):
        if s >= size:
            return '%s %s' % (figure(s / size), unit)
    return '%s ns' % figure(s / 1e-9)


def table(lines):
    """The one table, as markdown."""
    head = ('row', 'what', 'ours', 'against', 'ratio', 'spread', 'to reach', '')
    cells = [head]
    for line in lines:
        m, u = median(line.ratio), line.unit
        cells.append((line.row, line.what, line.ours, line.limit, figure(m) + u,
                      '' if len(line.ratio) < 2 else '%s..%s' % (figure(min(line.ratio)), figure(max(line.ratio))),
                      '' if line.goal is None else '%s %s%s' % (line.goal[0], line.goal[1], u),
                      '' if line.goal is None else 'yes' if line.reached else 'NO'))
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    out = ['| %s |' % ' | '.join(c.ljust(w) for c, w in zip(row, widths)) for row in cells]
    out.insert(1, '|%s|' % '|'.join('-' * (w + 2) for w in widths))
    return '\n'.join(out)


# --- what a process uses -----------------------------------------------------------------------------------------------

def threads(pid):
    try:
        return os.listdir('/proc/%d/task' % pid)
    except FileNotFoundError:
        return []


def cpu_ns(pid):
    """{thread id: ns on a CPU}: the scheduler's own count, finer than the ticks of /proc/PID/stat. The first is the loop's."""
    used = {}
    for tid in threads(pid):
        with open('/proc/%d/task/%s/schedstat' % (pid, tid)) as f:
            used[int(tid)] = int(f.read().split()[0])
    return used


def cpu_total(pid):
    return sum(cpu_ns(pid).values()) / 1e9


def cpu_shares(pid):
    """Seconds by ticks: user, system; and those of its children that it has reaped."""
    with open('/proc/%d/stat' % pid) as f:
        fields = f.read().rpartition(')')[2].split()
    return tuple(int(f) / TICK for f in fields[11:15])


def switches(pid):
    """How often its threads have been woken or put aside."""
    total = 0
    for tid in threads(pid):
        with open('/proc/%d/task/%s/status' % (pid, tid)) as f:
            total += sum(int(line.split()[1]) for line in f if 'ctxt_switches' in line)
    return total


def memory(pid):
    """{VmRSS, VmHWM, Pss}: bytes resident now, at their peak, and with what is shared counted by parts."""
    found = {}
    for name in ('status', 'smaps_rollup'):
        with open('/proc/%d/%s' % (pid, name)) as f:
            for line in f:
                key, _, rest = line.partition(':')
                if key in ('VmRSS', 'VmHWM', 'Pss'):
                    found[key] = int(rest.split()[0]) * 1024
    return found


def forget_peak(pid):
    """The peak begins anew."""
    with open('/proc/%d/clear_refs' % pid, 'w') as f:
        f.write('5')
