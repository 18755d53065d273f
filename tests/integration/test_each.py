"""`batchctl each` beside GNU parallel: the same line with both, the same output, status and joblog. Read the first column."""
import fcntl
import functools
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import unittest

from harness import Case, expand, rows, until
from test_contract_cli import Terminal

PARALLEL = shutil.which('parallel')

F = {'list': b'one\ntwo words\nthree\n', 'nul': b'a\nb\0c d\0', 'table': b'a,b,c\nd,e\n,,\n', 'tabs': b'a\tb c\nd\te\n', 'empty': b'',
     'blanks': b'a\n\n \nb\n', 'open': b'a\nb', 'people': b'name,age\nbob,7\nann b,8\n', 'tabbed': b'x y\tn.\r\n1.a\t2\n',
     'joined': b'a b\n\n  c d \ne \nf\n'}

# What it shows, the line, its stdin. Each is run by both, with -k but where its name ends in "*" (then lines are sorted).
TOGETHER = 6         # lines a test
LINES = [
    # --- where arguments come from
    ('`:::`', ['echo', ':::', 'a', 'b c', "it's", '', '$HOME', '*', '"q"', '\\', '~', 'é'], b''),
    ('`:::` twice', ['echo', ':::', 'a', 'b', ':::', 'c', 'd'], b''),
    ('`:::+`', ['echo', ':::', 'a', 'b', 'c', ':::+', '1', '2', '3'], b''),
    ('`:::+` of another length', ['echo', ':::', 'a', 'b', 'c', ':::+', '1', '2'], b''),
    ('`:::+` and `:::`', ['echo', ':::', 'a', 'b', ':::+', '1', '2', ':::', 'x', 'y'], b''),
    ('`:::` and `:::+`', ['echo', ':::', 'x', 'y', ':::', 'a', 'b', ':::+', '1', '2'], b''),
    ('`--link`', ['--link', 'echo', ':::', 'a', 'b', 'c', ':::', '1', '2'], b''),
    ('`::::`', ['echo', '::::', 'list'], b''),
    ('`::::` of two files', ['echo', '::::', 'list', 'open'], b''),
    ('`::::+`', ['echo', '::::', 'list', '::::+', 'table'], b''),
    ('`:::` and `::::`', ['echo', ':::', 'x', 'y', '::::', 'list'], b''),
    ('`:::: -`', ['echo', '::::', '-'], F['list']),
    ('`-a`', ['-a', 'list', 'echo'], b''),
    ('`-a` twice', ['-a', 'list', '-a', 'open', 'echo'], b''),
    ('`-a` and `:::`', ['-a', 'open', 'echo', ':::', '1', '2'], b''),
    ('stdin', ['echo'], F['list']),
    ('stdin without an end of line', ['echo'], F['open']),
    ('empty stdin', ['echo', 'x'], b''),
    ('stdin of one empty line', ['echo', 'x'], b'\n'),
    ('an empty file', ['echo', 'x', '::::', 'empty'], b''),
    ('`:::` without any', ['echo', ':::'], b''),
    ('`::::` without any', ['echo', '::::'], F['list']),
    ('an empty `:::` beside another', ['echo', ':::', 'a', ':::'], b''),
    ('`-0`', ['-0', 'echo'], F['nul']),
    ('`-0` of a file', ['-0', '-a', 'nul', 'echo', '{}.'], b''),
    ('`-d`', ['-d', ',', 'echo', '[{}]'], b'a,b c,d'),
    ("`-d '\\t'`", ['-d', '\\t', 'echo', '[{}]'], b'a\tb c\td'),
    ('`-r`', ['-r', 'echo', 'x'], F['blanks']),
    ('`-r` leaves out, it does not leave half a job', ['-r', '-n2', 'echo', ':::', 'a', '', 'b', ' ', 'c'], b''),
    ('`-r` of each source', ['-r', 'echo', ':::', 'a', '', ':::', 'b', ' ', 'c'], b''),
    ('`-r` of an empty one beside another', ['-r', 'echo', ':::', '', ' ', ':::', 'a'], b''),
    ('`--arg-sep`', ['--arg-sep', ',,', 'echo', '{}', ':::', ',,', 'a', 'b', ',,', 'c'], b''),
    ('`--arg-sep --`, as in moreutils', ['--arg-sep', '--', 'echo', '--', 'a', 'b'], b''),
    ('`--arg-sep` that is not there', ['--arg-sep', ',,', 'echo', ':::'], F['list']),
    ('`--arg-file-sep`', ['--arg-sep', ',,', '--arg-file-sep', '@@', 'echo', '::::', ',,', 'a', 'b', '@@', 'list'], b''),
    ('`--arg-sep` with a plus', ['--arg-sep', ',,', 'echo', ',,', 'a', 'b', ',,+', '1', '2'], b''),
    ('`--header : `', ['--header', ':', 'echo', '{x}', '{y}', '{1}', ':::', 'x', '1', '2', ':::', 'y', 'a', 'b'], b''),
    ('`--header` of columns', ['--header', ':', '--colsep', ',', 'echo', '{age}', '{name}', '"{name}"', '{nam}', '{1}', '::::', 'people'], b''),
    ('`--header` of tabs', ['--header', ':', 'echo', '{x y}', '{x y.}', '{n.}', '{x y/}', '::::', 'tabbed'], b''),
    ('`--header` as an expression', ['--header', '.*\\n', 'echo', '{x}', ':::', 'x', 'a.b', 'c/d'], b''),
    ('`--header` and `:::+`', ['--header', ':', 'echo', '{x}-{y.}', ':::', 'x', '1', '2', ':::+', 'y', 'a.b', 'b'], b''),
    ('`--header` of two tables', ['--header', ':', '--colsep', ',', 'echo', '{y}{age}{name/}', '::::', 'people', ':::', 'y', 'z'], b''),
    ('`--header` and -n', ['--header', ':', '-n2', 'echo', '{x}', '{}', ':::', 'x', '1', '2', '3'], b''),
    ('`--header` of nothing else', ['--header', ':', 'echo', ':::', 'x'], b''),
    ('`--header` of no input', ['--header', ':', 'echo'], b''),
    ('`--header` in a tag', ['--header', ':', '--tagstring', '<{x}>', 'echo', ':::', 'x', '1'], b''),
    ('`--header 0`', ['--header', '0', 'echo', '{list}', '{people}', '::::', 'list', 'people'], b''),
    ('`--trim l`', ['--trim', 'l', 'echo', '[{}]', ':::', ' a ', '\tb\t', ''], b''),
    ('`--trim r`', ['--trim', 'r', 'echo', '[{}]', ':::', ' a ', '\tb\t', ' '], b''),
    ('`--trim lr` before all else', ['--trim', 'lr', '--tag', 'echo', '[{.}]', '{/}', ':::', ' d/a.b  ', 'c'], b''),
    ('`--trim rl`', ['--trim', 'rl', 'echo', '[{}]', ':::', ' a  b '], b''),
    ('`--trim n`', ['--trim', 'n', 'echo', '[{}]', ':::', ' a '], b''),
    ('`--colsep` trims', ['--colsep', ',', 'echo', '[{1}][{2}]', ':::', ' a , b ', 'c'], b''),
    ('`--colsep --trim n`', ['--colsep', ',', '--trim', 'n', 'echo', '[{1}][{2}]', ':::', ' a , b ', 'c'], b''),
    ('`--shuf`*', ['--shuf', '-j1', 'echo', ':::', 'a', 'b', ':::', '1', '2', '3'], b''),
    # --- replacement strings
    ('`{}`', ['echo', 'x{}y', '{}', ':::', 'a b', '', "'"], b''),
    ('`{.} {/} {//} {/.}`', ['echo', '{.}', '{/}', '{//}', '{/.}', ':::', 'a.b', '/x/a.b.c', 'd/e', 'x.y/z', '.rc', 'a/', '/', '/a', '../x', 'x.', 'a b.c d'], b''),
    ('`{#}`', ['echo', '{#}:{}', ':::', 'a', 'b', 'c'], b''),
    ('`{#}` alone', ['echo', '{#}', ':::', 'a', 'b'], b''),
    ('`{%}` of one slot', ['-j1', 'echo', '{%}', '{}', ':::', 'a', 'b'], b''),
    ('`{1} {2}`', ['echo', '{2}', '{1}', ':::', 'a', 'b', ':::', 'c'], b''),
    ('`{1.} {2/} {1//} {2/.}`', ['echo', '{1.}', '{2/}', '{1//}', '{2/.}', ':::', 'p/a.b', ':::', 'q/c.d'], b''),
    ('`{-1}`', ['echo', '{-1}', '{-2}', ':::', 'a', 'b', ':::', 'c'], b''),
    ('a position that there is not', ['echo', '[{3}]', '{1}', ':::', 'a'], b''),
    ('`{.}` of two sources', ['echo', '{.}', '{/}', ':::', 'x/a.b', ':::', 'y/c.d'], b''),
    ('braces that are none', ['echo', '{a,b}', '{1..3}', '{}', ':::', 'x'], b''),
    ('`-I`', ['-I,,', 'echo', ',,', '{.}', ':::', 'a.b'], b''),
    ('`-I` in a tag', ['-I,,', '--tagstring', '<,,>', 'echo', ':::', 'a', 'b'], b''),
    ('`-I --tag`', ['-I,,', '--tag', 'echo', ':::', 'a', 'b'], b''),
    ('`-I` in a folder', ['-I,,', '--wd', 'd,,', 'pwd', ':::', 'a'], b''),
    ('none: it is appended', ['echo', 'a b', 'c', ':::', '1'], b''),
    ('in quotes of the shell', ['echo "it is {}"', ':::', 'a', 'b c'], b''),
    ('`--quote`', ['--quote', 'echo', '$x;', '{}', ':::', 'a  b'], b''),
    ('no command', [':::', 'echo a; echo b', 'false', 'echo "c  d"'], b''),
    ('no command, stdin', [], b'echo a\nexit 3\n'),
    ('`-q`', ['-q', 'echo', '$x;', '{}', ':::', 'a  b'], b''),
    ('`-q` of a program in the words', ['-q', 'awk', 'BEGIN { print "<" ARGV[1] ">"; print $0 }', '{}', ':::', 'a  b'], b''),
    ('`{}` is the command', ['{}', ':::', 'echo a; echo b', 'false', 'echo "c  d"'], b''),
    ('`{}` begins it', ['{} x {}', ':::', 'echo  a', 'echo "b  c"'], b''),
    ('`{1}` begins it', ['{1}', '{2}', ':::', 'echo x', 'printf %s,', ':::', 'a  b', 'c'], b''),
    ('`{}` begins it under -q', ['-q', '{}', 'x  y', ':::', 'echo'], b''),
    ('`-I` begins it', ['-I,,', ',,', ':::', 'echo  a'], b''),
    ('`$PARALLEL_SEQ`', ['echo $PARALLEL_SEQ', ':::', 'a', 'b', 'c'], b''),
    ('`$PARALLEL_SEQ` of a program', ["sh -c 'echo $PARALLEL_SEQ'", ':::', 'a', 'b'], b''),
    ('`$PARALLEL_JOBSLOT`', ['-j1', 'echo $PARALLEL_JOBSLOT', ':::', 'a', 'b'], b''),
    ('`--colsep ,`', ['--colsep', ',', 'echo', '{2}', '{1}', '[{3}]'], F['table']),
    ('`-C ,`', ['-C', ',', 'echo', '{2}', '{1}', '[{3}]'], F['table']),
    ('`--colsep` and `{}`', ['--colsep', ',', 'echo', '[{}]'], F['table']),
    ("`--colsep '\\t'`", ['--colsep', '\\t', 'echo', '[{2}]'], F['tabs']),
    ('`--colsep` a regular expression', ['--colsep', ' +|;', 'echo', '{2}'], b'a   b\nc;d\n'),
    ('`--colsep` of several sources', ['--colsep', ',', 'echo', '{3}{1}', ':::', 'a,b', ':::', 'c'], b''),
    # --- several to a command
    ('`-n2`', ['-n2', 'echo', ':::', 'a', 'b', 'c'], b''),
    ('`-n2` with positions', ['-n2', 'echo', '{2}-{1}', ':::', 'a', 'b', 'c'], b''),
    ('`-N2`', ['-N2', 'echo', '{1}/{2}', ':::', 'a', 'b', 'c'], b''),
    ('`-N2` repeats the word', ['-N2', 'echo', 'x{}y', '"{} z"', ':::', 'a', 'b', 'c'], b''),
    ('`-n2` does not', ['-n2', 'echo', 'x{}y', '"{} z"', ':::', 'a', 'b', 'c'], b''),
    ('`-N2` of two sources', ['-N2', 'echo', ':::', 'a', 'b', ':::', '1', '2'], b''),
    ('`-n0`', ['-n0', 'echo', 'hi', '{}', ':::', 'a', 'b'], b''),
    ('`-N0`', ['-N0', 'echo', 'hi', ':::', 'a', 'b'], b''),
    ('`-n2` stdin', ['-n', '2', 'echo'], F['list']),
    ('`-L2`', ['-L2', 'echo', '{}.', '::::', 'joined'], b''),
    ('`-L1`', ['-L', '1', 'echo', 'p{}q', '{2}', '::::', 'joined'], b''),
    ('`-l`, of one line', ['-l', 'echo', 'p{}q', '::::', 'joined'], b''),
    ('`-l 2`', ['-l', '2', 'echo', '{}.', '::::', 'joined'], b''),
    ('`-l` behind other letters and before them', ['-j1', '-rlu', 'echo', '{}.', '::::', 'joined'], b''),
    ('`--max-lines=2`', ['--max-lines=2', 'echo', '{}.', '::::', 'joined'], b''),
    ('`-L2` of two sources', ['-L2', 'echo', 'p{}q', ':::', 'a', 'b ', 'c', ':::', '1', '2'], b''),
    ('`-L2 -m`', ['-m', '-L2', 'echo', 'p{}q', '::::', 'joined'], b''),
    ('`-L2 -r`', ['-r', '-L2', 'echo', '::::', 'joined'], b''),
    ('`-L2 -n1`', ['-n1', '-L2', 'echo', '::::', 'joined'], b''),
    ('`-L2 -N3`', ['-N3', '-L2', 'echo', '::::', 'joined'], b''),
    ('`-L0`', ['-L0', 'echo', 'x', ':::', 'a', 'b'], b''),
    ('`-L2` with a blank at the end', ['-L2', '--trim', 'r', 'echo', ':::', 'a ', 'b', 'c '], b''),
    ('`-X`', ['-X', '-j2', 'echo', 'p{}q', ':::', 'a', 'b', 'c', 'd e'], b''),
    ('`-X` of one slot', ['-X', '-j1', 'echo', 'p{}q', '{.}', ':::', 'a.x', 'b.y', 'c'], b''),
    ('`-m`', ['-m', '-j2', 'echo', 'p{}q', ':::', 'a', 'b', 'c'], b''),
    ('`--xargs` does not spread', ['--xargs', '-j2', 'echo', 'p{}q', ':::', 'a', 'b', 'c'], b''),
    ('`--xargs -n`', ['--xargs', '-j2', '-n', '2', 'echo', ':::', 'a', 'b', 'c'], b''),
    ('`--xargs -s`', ['--xargs', '-j2', '-s', '20', 'echo', ':::', '11111', '22222', '33333', '4', '5'], b''),
    ('`-X -n`', ['-X', '-j2', '-n', '3', 'echo', ':::', '1', '2', '3', '4', '5'], b''),
    ('`-X -s`', ['-X', '-j3', '-s', '20', 'echo', ':::', '11111', '22222', '33333', '4', '5'], b''),
    ('`--plus`', ['--plus', 'echo', '{..} {...} {/..} {/...} {+.} {+..} {+...} {+/} {#}/{##}', ':::', 'd.x/sub.y/f.a.b.c', 'no', 'a/b', '.h.x', 'x.y', 'a b//c.d.', '../.', ''], b''),
    ('`--plus` by position', ['--plus', '--link', 'echo', '{1..}={2+.}={-1/..}={.}{//}', ':::', 'a.b.c', ':::', 'd/e.f.g'], b''),
    ('no `--plus`', ['echo', '{..} {+.} {##} {%.c} {+/}', ':::', 'a.b.c'], b''),
    # --- what comes out
    ('output of two streams', ['echo {}; echo e{} >&2', ':::', 'a', 'b'], b''),
    ('output without an end of line', ['printf %s', ':::', 'a', 'b'], b''),
    ('`--tag`', ['--tag', 'echo x; printf "y{}"', ':::', 'a b', 'c'], b''),
    ('`--tag` of two sources', ['--tag', 'echo', 'x', ':::', 'a', 'b c', ':::', 'd'], b''),
    ('`--tagstring`', ['--tagstring', '{#}={1.}', 'echo', ':::', 'a.b', 'c'], b''),
    ('`--lb`*', ['-j1', '--lb', 'echo', ':::', 'a', 'b'], b''),
    ('`--line-buffer --tag`*', ['-j1', '--line-buffer', '--tag', 'printf "a\\nb\\n"; echo', ':::', '1', '2'], b''),
    ('`-u`*', ['-j1', '-u', 'printf "a\\nb\\n"; echo', ':::', '1', '2'], b''),
    ('no -k*', ['-j3', 'echo', ':::', 'a', 'b', 'c'], b''),
    ('`-v`', ['-v', 'echo', ':::', 'a b'], b''),
    ('`--will-cite --gnu`', ['--will-cite', '--gnu', 'echo', ':::', 'a'], b''),
    ('`--no-notice --tmpdir`', ['--no-notice', '--tmpdir', '.', 'echo', ':::', 'a'], b''),
    ('`-t`', ['-t', 'echo', ':::', 'a'], b''),
    ('`--dry-run`', ['--dry-run', 'echo', '{}', '{.}', '>', '{#}.out', ':::', "it's", 'a b.c', ''], b''),
    ('much output', ['seq', '{}', '30000', ':::', '1', '20000'], b''),
    # --- ends
    ('exit: one failure', ['exit', ':::', '0', '1', '0'], b''),
    ('exit: three', ['exit', ':::', '1', '0', '2', '3'], b''),
    ('exit: more than a hundred', ['-j1', 'false', ':::', *map(str, range(103))], b''),
    ('killed by a signal', ['kill -{} $$; :', ':::', '9', '15'], b''),
    ('not found', ['/nonexistent/program', ':::', 'a'], b''),
    ('`--retries` counts all tries', ['--retries', '3', 'echo r >> tries; test $(wc -l < tries) -ge {}', ':::', '3'], b''),
    ('`--retries` that are not enough', ['--retries', '2', 'echo r >> tries; test $(wc -l < tries) -ge {}', ':::', '3'], b''),
    ('`--timeout`', ['--timeout', '1', 'sleep', ':::', '100'], b''),
    ('`--halt never`', ['-j1', '--halt', 'never', 'echo {}; exit {}', ':::', '1', '0', '2'], b''),
    ('`--halt soon,fail=1`', ['-j1', '--halt', 'soon,fail=1', 'echo {}; exit {}', ':::', '0', '3', '0'], b''),
    ('`--halt now,fail=1`', ['-j1', '--halt', 'now,fail=1', 'echo {}; exit {}', ':::', '0', '3', '0'], b''),
    ('`--halt soon,fail=2`', ['-j1', '--halt', 'soon,fail=2', 'echo {}; exit {}', ':::', '1', '0', '2', '0'], b''),
    ('`--halt soon,success=1`', ['-j1', '--halt', 'soon,success=1', 'echo {}; exit {}', ':::', '1', '0', '2'], b''),
    ('`--halt soon,done=2`', ['-j1', '--halt', 'soon,done=2', 'echo {}; exit {}', ':::', '1', '0', '2'], b''),
    ('`--halt soon,fail=30%`', ['-j1', '--halt', 'soon,fail=30%', 'echo {}; exit {}', ':::', '1', '0', '2', '0', '0', '4'], b''),
    ('`--halt 1`', ['-j1', '--halt', '1', 'echo {}; exit {}', ':::', '0', '7', '0'], b''),
    ('`--halt` that is not reached', ['-j1', '--halt', 'now,fail=5', 'exit', ':::', '1', '2'], b''),
    ('`--halt` by a signal', ['-j1', '--halt', 'now,fail=1', 'kill -9 $$; :', ':::', '1', '2'], b''),
    ('`--delay`', ['--delay', '0.05', 'echo', ':::', 'a', 'b'], b''),
    ('`-j0`', ['-j0', 'echo', ':::', 'a', 'b'], b''),
    ('`-j 200%`', ['-j', '200%', 'echo', ':::', 'a', 'b'], b''),
    ('`-j 1%` is one', ['-X', '-j', '1%', 'echo', ':::', 'a', 'b', 'c'], b''),
    ('`-j +1`', ['-m', '-j', '+1', 'echo', ':::', *map(str, range(24))], b''),
    ('`--nice`', ['--nice', '7', 'nice; echo', ':::', 'a b', '$x'], b''),
    ('`--nice` and what fails', ['--nice', '7', 'exit', ':::', '0', '3'], b''),
    ('`--wd`', ['--wd', 'sub/new', 'pwd; echo $PWD', ':::', 'a'], b''),
    ('`--workdir` of the argument', ['--workdir', 'x{}/{#}', 'echo hi >f; pwd; ls', ':::', 'a', 'b c'], b''),
    ('`--wd .`', ['--wd', '.', 'pwd', ':::', 'a'], b''),
    ('`--wd` by a column', ['--header', ':', '--wd', '{x}', 'pwd', ':::', 'x', 'd1', 'd2'], b''),
    ('`--env`', ['--env', 'HOME', 'echo', ':::', 'a'], b''),
    ('`-P`', ['-P', '+1', 'echo', ':::', 'a', 'b'], b''),
    ('options end at the command', ['echo', '-n', '-k', '{}', ':::', 'a'], b''),
    ('`--` ends them too', ['--', 'echo', ':::', '-a'], b''),
]

NO_LOG = ('--dry-run', '-v', '--shuf')      # -v: parallel counts its own line as the job's; --shuf: another order each time


def columns(path):
    """The joblog without its times: by Seq, since that is the order in which both know their jobs."""
    with open(path, 'rb') as f:
        lines = [line.rstrip(b'\n').split(b'\t') for line in f]
    return lines[:1], sorted((n, host, b'', b'', *rest) for n, host, _, _, *rest in lines[1:])


@functools.cache
def parallel_home():
    """What parallel has found out about the machine, in the folder that guard.py removes: in a fresh one it would try again, at thrice
    the cost of a line, how long a command may be."""
    home = tempfile.mkdtemp(prefix='parallel-')
    open(os.path.join(home, 'will-cite'), 'w').close()
    return home


@unittest.skipUnless(PARALLEL, 'GNU parallel is not installed')
@expand
class BesideParallel(Case):
    def folder(self, name):
        """A fresh one with the files the lines name."""
        path = self.box.path(name)
        shutil.rmtree(path, ignore_errors=True)
        os.makedirs(path)
        for f, content in F.items():
            self.box.put(os.path.join(name, f), content)
        return path

    def theirs(self, args, stdin, cwd):
        env = self.box.env(PARALLEL_HOME=parallel_home(), PARALLEL_SHELL='/bin/bash', SHELL='/bin/bash')
        p = subprocess.run([PARALLEL, *args], input=stdin, capture_output=True, cwd=cwd, env=env)
        return p.stdout, p.returncode, p.stderr

    def ours(self, args, stdin, cwd):
        p = self.box.ctl('each', *args, input=stdin, cwd=cwd)
        return p.out, p.status, p.err

    def both(self, name, args, stdin):
        keep = [] if name.endswith('*') else ['-k']
        log = [] if any(a in NO_LOG for a in args) else ['--joblog', 'log']
        seen = []
        for run in (self.theirs, self.ours):
            cwd = self.folder('d')
            out, status, err = run([*keep, *log, *args], stdin, cwd)
            if not keep:
                out = b''.join(sorted(out.splitlines(True)))
            seen.append((out, status, columns(os.path.join(cwd, 'log')) if log else None, err))
        (out, status, rows, err), (our_out, our_status, our_rows, our_err) = seen
        self.assertEqual(our_out, out, '%s: stdout; stderr %r' % (args, our_err))
        self.assertEqual(our_status, status, '%s: exit status; stderr %r, theirs %r' % (args, our_err, err))
        self.assertEqual(our_rows, rows, '%s: joblog' % args)

    @rows(*[('from %d' % i, LINES[i:i + TOGETHER]) for i in range(0, len(LINES), TOGETHER)])
    def lines(self, some):
        for name, args, stdin in some:
            with self.subTest(name):
                self.both(name, args, stdin)

    def thrown_together(self):
        """Texts and templates; the seed is fixed, so that a failure stays."""
        r = random.Random(6)
        pieces = ['a', 'B9', ' ', "'", '"', '\\', '$x', '`', '/', '.', '..', '-', '=', '~', '*', '?', '[', '{', '}', '(', ';', '&', '|', '<', '!', '#',
                  '%', '^', ',', ':', '@', 'é', '日']
        templates = ['{}', 'x{}y', '{.}', '{/}', '{//}', '{/.}', '{#}', '{1}', '{2}', '{1/.}', '{-1}', '"{}"', '{2.}', '|', '\\', '{x}', '{{}}', '$({})']
        for _ in range(25):
            words = [''.join(r.choices(pieces, k=r.randint(0, 6))) for _ in range(8)]
            args = ['--dry-run', *r.choice([[], ['-n2'], ['-X', '-j2'], ['-m', '-j2'], ['-N3'], ['--link']]),
                    'echo', *r.choices(templates, k=r.randint(0, 3)), ':::', *words]
            if r.random() < 0.3:
                args += [':::', *words[:2]]
            yield args

    @rows(*[('of %d' % i, i) for i in range(5)])
    def what_is_executed_is_the_same_for_any_argument(self, part):
        for n, args in enumerate(self.thrown_together()):
            if n % 5 == part:
                with self.subTest(n):
                    self.both('', args, b'')

    def test_resume_of_its_log(self):
        """A log that parallel wrote is gone on with, and the other way round."""
        cwd = self.folder('d')
        args = ['--joblog', 'log', '-k', 'echo {}; exit {}', ':::', '0', '1', '2']
        self.theirs(args, b'', cwd)
        self.assertEqual(self.ours(['--resume', *args, '3'], b'', cwd)[:2], (b'3\n', 1))
        self.assertEqual(self.ours(['--resume', *args, '3'], b'', cwd)[:2], (b'', 0))
        self.assertEqual(self.theirs(['--resume', *args, '3', '4'], b'', cwd)[:2], (b'4\n', 1))
        self.assertEqual(self.ours(['--resume-failed', *args], b'', cwd)[:2], (b'1\n2\n', 2))

    def test_results(self):
        """The same files, whose content is the same."""
        for args in (['--results', 'r', 'echo {}; echo e >&2', ':::', 'a', 'b/c', 'x\\y', ':::', 'd', ''], ['--results', 'r/{}.x', 'echo', ':::', 'a', 'b'],
                     ['--trim', 'lr', '--results', 'r', 'echo', ':::', ' a ', 'b'], ['--trim', 'lr', '--results', 'r/{}', 'echo', ':::', ' a ', 'b'],
                     ['--results', 'r/x{}/', 'echo', ':::', 'a', 'b/c'], ['-I,,', '--results', 'r/,,', 'echo', ':::', 'a'],
                     ['--header', ':', '--results', 'r', 'echo', '{y}', ':::', 'x', '1', ':::', 'y', '2', '3'],
                     ['--header', ':', '--results', 'r/{x}', 'echo', ':::', 'x', '1', '2'], ['-k', '--wd', 'w', '--results', 'r', 'pwd', ':::', 'a']):
            seen = []
            for run in (self.theirs, self.ours):
                cwd = self.folder('d')
                out, status, _ = run(['-k', *args], b'', cwd)
                files = {}
                for at, _, names in os.walk(os.path.join(cwd, 'r')):
                    for name in names:
                        with open(os.path.join(at, name), 'rb') as f:
                            files[os.path.relpath(os.path.join(at, name), cwd)] = f.read()
                seen.append((out, status, files))
            self.assertEqual(seen[1], seen[0], args)


class Alone(Case):
    """What parallel has not, or does otherwise."""

    def each(self, *args, **kw):
        return self.box.ctl('each', *args, **kw)

    def test_what_it_lacks_is_refused_by_name(self):
        for option in ('--pipe', '--pipepart', '--sshlogin', '-S', '--onall', '--memfree', '--load', '--tmux',
                       '--semaphore', '--rpl', '--transferfile', '--retry-failed', '--csv', '--files', '--block-size'):
            p = self.each(option, '1', 'echo', ':::', 'a')
            self.assertEqual((p.status, p.out), (2, b''), p)
            self.assertIn(option, p.errors)
            self.assertEqual(p.errors.count('\n'), 1, p)
        self.assertEqual(self.box.call('run.list')['runs'], [])

    def test_what_it_lacks_of_plus_is_refused(self):
        for text in ('{%.gz}', '{#a}', '{:3}', '{1:-x}', '{/a/b}', '{^a}', '{,,a}', '{0#}'):
            p = self.each('--plus', 'echo', 'x' + text, ':::', 'a')
            self.assertEqual((p.status, p.out, p.errors.count('\n')), (2, b'', 1), p)
            self.assertIn("'%s' of --plus" % text, p.errors)
        self.assertEqual(self.each('--plus', "echo {} | awk '{ print $1 }'; echo {x} {", ':::', 'a', check=0).out, b'a\n{x} {\n')

    def test_nice_is_run_by_the_shell_of_the_configuration(self):
        os.makedirs(self.box.path('../home/.config/batchd'), exist_ok=True)
        self.box.put('../home/.config/batchd/batchd.conf', 'shell = /bin/sh\n')
        self.box.ctl('daemon', 'reload', check=0)
        for how in ([], ['--nice', '3']):
            self.assertEqual(b'/bin/sh a\n', self.each(*how, 'echo $0', ':::', 'a', check=0).out)

    def test_wrong_use_is_told_in_one_line(self):
        rows = [
            (['--halt', 'soon,fale=1', 'x', ':::', 'a'], 'soon,fale=1'), (['--halt', 'now', 'x', ':::', 'a'], 'now,fail=1'), (['--halt', '5', 'x', ':::', 'a'], "'5'"),
            (['-j', 'x', 'echo', ':::', 'a'], "-j 'x'"), (['--colsep', '(', 'echo', ':::', 'a'], "--colsep '('"), (['echo', '::::', 'nowhere'], 'nowhere'),
            (['-a', 'nowhere', 'echo'], 'nowhere'), (['--resume', 'echo', ':::', 'a'], '--joblog'), (['--results', 'x.csv', 'echo', ':::', 'a'], 'x.csv'),
            (['echo', '{= $_++ =}', ':::', 'a'], 'perl'), (['echo', '{=', '$_++', '=}', ':::', 'a'], 'perl'), (['-n', '-1', 'echo', ':::', 'a'], '--max-args'), (['-d', 'ab', 'echo'], "'ab'"),
            (['--joblog', 'no/such/folder', 'echo', ':::', 'a'], 'no/such/folder'), (['-e', 'x', 'echo', ':::', 'a'], '-e'),
            (['-j', '-999999', 'echo', ':::', 'a'], "-j '-999999' leaves no job"), (['-j0%', 'echo', ':::', 'a'], 'leaves no job'),
            (['--group', 'echo', ':::', 'A'], 'leave --group out'), (['-g', 'echo', ':::', 'A'], "'echo' is the pool"),
            (['--group', 'echo', 'hi', ':::', 'A'], '-g for the pool'), (['--group', 'cat {} | wc', ':::', 'A'], 'leave --group out'),
            (['-E', 'B', 'echo', ':::', 'a', 'B'], '-E NAME=VALUE'), (['--trim', 'x', 'echo', ':::', 'a'], 'n, l, r, lr, rl'),
            (['--nice', '99', 'echo', ':::', 'a'], 'from -20 to 19'), (['--wd', '...', 'echo', ':::', 'a'], 'mktemp'), (['--arg-sep', '', 'echo'], '--arg-sep'),
            (['--wd', 'list/x', 'echo', ':::', 'a'], '--workdir'), (['-L', 'x', 'echo', ':::', 'a'], "'x'"),
            (['--timeout', '200%', 'echo', ':::', 'a'], '200%')]
        self.box.put('list')
        for args, says in rows:
            with self.subTest(' '.join(args)):
                p = self.each(*args)
                self.assertEqual((p.status, p.out, p.errors.count('\n')), (2, b'', 1), p)
                self.assertIn(says, p.errors)

    def test_resume_goes_by_content(self):
        """Arguments that were put in front or left out change nothing for the others; the same command twice is two jobs."""
        self.each('--joblog', 'log', 'echo >>ran', ':::', 'a', 'b', 'a', check=0)
        self.each('--joblog', 'log', '--resume', '-k', 'echo >>ran', ':::', 'new', 'b', 'a', 'a', 'a', check=0)
        self.assertEqual(sorted(self.box.text('ran').split()), ['a', 'a', 'a', 'b', 'new'])
        self.assertEqual(self.box.text('log').count('\n'), 6)

    def test_slots(self):
        """{%}: no two that run at once have the same, wherever it stands and whatever --resume leaves out."""
        lock = 'mkdir lock%s && sleep 0.05 && rmdir lock%s && : {}'
        self.each('-j3', lock % ('{%}', '{%}'), ':::', *range(12), check=0)
        self.each('-j3', '--wd', 'slot{%}', lock % ('', ''), ':::', *range(12), check=0)
        self.each('-j3', '--results', 'out{%}/{}', lock % ('$PARALLEL_JOBSLOT', '$PARALLEL_JOBSLOT'), ':::', *range(12), check=0)
        self.assertTrue(self.box.exists('out3/11'))
        done = (lock % (n % 3 + 1, n % 3 + 1) for n in (1, 2, 4, 5))
        self.box.put('log', ''.join('1\t:\t0\t0\t0\t0\t0\t0\t%s\n' % text.replace('{}', str(n)) for n, text in zip((1, 2, 4, 5), done)))
        p = self.each('-j3', '--joblog', 'log', '--resume', lock % ('{%}', '{%}'), ':::', *range(9), check=0)
        self.assertEqual(p.errors, '')
        self.assertEqual(self.box.text('log').count('\n'), 9)

    def test_submit_flags(self):
        p = self.each('--name', 'many', '-E', 'X=7', '--json', '-k', 'echo $X', ':::', 'a', 'b', check=0)
        self.assertEqual((p.json['name'], p.json['state'], p.json['summary']['ops']), ('many', 'succeeded', 2))
        self.assertEqual(p.errors, '7 a\n7 b\n')
        self.assertEqual(self.each('-e', 'echo {}{}', ':::', 'a', check=0).out, b'aa\n')

    def test_quiet_is_in_front_of_the_verb(self):
        """Behind it -q is parallel's --quote."""
        self.assertEqual(self.each('-q', 'printf', '%s;', '{}', ':::', 'a  $b', check=0).out, b'a  $b;')
        self.assertIn('1 of 1 failed', self.each('-q', 'false', ':::', 'a').errors)
        self.assertEqual(self.box.ctl('-q', 'each', 'false', ':::', 'a').errors, '')

    def test_a_full_disk_is_told_once(self):
        with open('/dev/full', 'wb') as full:
            p = self.box.ctl_start('each', '-j1', 'echo', ':::', 'a', 'b', 'c', stdout=full)
            _, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, err.count(b'cannot write to stdout'), err.count(b'\n')), (1, 1, 1), err)

    def test_the_command_on_stderr(self):
        for flag in ('-t', '--verbose'):
            p = self.each(flag, '-k', 'echo', ':::', 'a b', 'c', check=0)
            self.assertEqual((p.out, p.errors), (b'a b\nc\n', "echo 'a b'\necho c\n"))

    def test_a_pool_and_arguments_that_are_commands(self):
        self.assertEqual(self.each('-g', 'small', '{}', ':::', 'echo a', check=0).out, b'a\n')

    def test_group_is_a_pool_where_it_is_no_program(self):
        """parallel's --group takes nothing, ours takes a name: where both could be meant nothing is run."""
        self.assertEqual(self.each('--group', 'some-pool', '--json', 'true', ':::', 'a', check=0).json['group'], 'some-pool')
        self.assertEqual(self.each('-g', 'cat', '--json', 'true', ':::', 'a', check=0).json['group'], 'cat')

    def test_env_of_parallel(self):
        """A name alone passes a variable on, which is so anyway, functions of bash included; K=V adds one."""
        env = {'BASH_FUNC_greet%%': '() {  echo "hi $1"\n}'}
        self.assertEqual(self.each('--env', 'greet', '--env', 'nowhere', '--env', 'X=1', 'greet "{} $X"', ':::', 'a', env=env, check=0).out, b'hi a 1\n')

    def test_options_without_dashes(self):
        """parallel knows many so."""
        self.assertEqual(self.each('--dryrun', '--keeporder', '--maxargs=2', 'echo', ':::', 'a', 'b', check=0).out, b'echo a b\n')
        self.assertEqual(self.each('--keepord', 'echo', ':::', 'a').status, 2)

    def test_shuffled(self):
        """All of them, each once, not in the order they came in; by -k in the order of the jobs, whose numbers go up."""
        words = [str(n) for n in range(100, 300)]
        out = self.each('--shuf', '-k', '--dry-run', '{#}', ':::', *words, check=0).out.split()
        self.assertEqual(out, [b'%d' % n for n in range(1, 201)])
        out = self.each('--shuf', '--dry-run', 'echo', ':::', *words, check=0).out.decode().split('\n')[:-1]
        self.assertEqual(sorted(out), ['echo ' + w for w in words])
        self.assertNotEqual(out, sorted(out))
        self.assertNotEqual(self.each('--shuf', '--dry-run', 'echo', ':::', *words, check=0).out.decode().split('\n')[:-1], out)

    def test_a_dry_run_makes_no_folder(self):
        self.each('--dry-run', '--wd', 'new', 'echo', ':::', 'a', check=0)
        self.assertFalse(self.box.exists('new'))

    def test_interrupt_cancels_the_run(self):
        p = self.box.ctl_start('each', '-j2', 'echo >started; sleep 1000; :', ':::', *range(5))
        until(lambda: self.box.exists('started'), 'the first job')
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 128 + signal.SIGINT, err)
        self.assertIn(b'cancelled', err)
        self.assertEqual(self.box.call('run.list')['runs'][0]['state'], 'cancelled')

    def test_closed_terminal_leaves_it(self):
        p = self.box.ctl_start('each', 'touch started; until test -e go; do sleep 0.02; done; touch done{}', ':::', 'a')
        until(lambda: self.box.exists('started'), 'the job')
        p.send_signal(signal.SIGHUP)
        _, err = p.communicate(timeout=60)
        self.assertEqual(p.returncode, 128 + signal.SIGHUP)
        self.assertIn(b'goes on', err)
        self.box.put('go')
        self.assertEqual(self.box.wait(1)['state'], 'succeeded')
        self.assertTrue(self.box.exists('donea'))

    def test_batchd_restarts_under_it(self):
        """All output is there once, in order, over a kill -9 of batchd."""
        p = self.box.ctl_start('each', '-k', '-j2', 'touch s{}; until test -e go; do sleep 0.02; done; seq {} 5000', ':::', *range(1, 5))
        until(lambda: self.box.exists('s1') and self.box.exists('s2'), 'the first two')
        self.box.kill_daemon()
        self.box.start()
        self.box.put('go')
        out, err = p.communicate(timeout=120)
        self.assertEqual(p.returncode, 0, err)
        self.assertEqual(out.split(), [b'%d' % n for first in range(1, 5) for n in range(first, 5001)])

    def test_halt_now_ends_what_runs(self):
        p = self.each('-j2', '--halt', 'now,fail=1', 'test {} = b && until test -e up; do sleep 0.02; done && exit 9; touch up; exec sleep 1000', ':::', 'a', 'b', 'c')
        self.assertEqual(p.status, 9, p)
        self.assertEqual([(o['state'], o['cause']) for o in self.box.get(1)['ops']],
                         [('cancelled', 'dependency'), ('failed', 'exit'), ('skipped', 'dependency')])

    def test_reader_that_goes_away(self):
        """As in a pipe of the shell: `each ... | head` ends, and so does the run."""
        p = self.box.ctl_start('each', '-j1', '-u', 'while :; do echo {}; done', ':::', 'a', 'b')
        p.stdout.readline()
        p.stdout.close()
        self.assertEqual(p.wait(60), 128 + signal.SIGPIPE)
        p.stderr.close()
        until(lambda: self.box.call('run.list')['runs'][0]['state'] == 'cancelled', 'the end of the run')

    def test_bar(self):
        p = self.each('--bar', 'exit', ':::', '0', '1', '0', '0')
        self.assertIn('100%  4/4  1 failed', p.errors)
        self.assertNotIn('\033', p.errors)

    def test_bar_on_a_terminal_made_narrower(self):
        """The terminal has wrapped it then: all its rows go, not only the last."""
        bar = Terminal(self.box, 'each', '--bar', '-j1', 'until [ -e {} ]; do sleep 0.05; done', ':::', 'one', 'two')
        self.addCleanup(lambda: bar.fd < 0 or bar.close())
        self.box.put('one')
        bar.until('50%').until('1 running')
        bar.text = b''
        fcntl.ioctl(bar.fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 40, 0, 0))
        bar.until('\r\033[1A\033[K\033[C\033[J\r').until('1/2  1 running')
        self.box.put('two')
        bar.until('100%')
        self.assertEqual(bar.status(), 0)

    def test_many_arguments(self):
        """A quarter of a million is no matter: no step of it looks at each for each."""
        p = self.each('--dry-run', 'echo {/.} {#}', input=b''.join(b'some/folder/file%d.txt\n' % n for n in range(250000)), check=0)
        self.assertEqual(p.out.count(b'\n'), 250000)
        p = self.each('-j8', '-X', 'true', input=b''.join(b'%d\n' % n for n in range(250000)), check=0)
        self.assertEqual(p.out, b'')

    def test_without_a_daemon_a_dry_run_starts_none(self):
        self.box.call('daemon.stop')
        until(lambda: not os.path.exists(self.box.socket) or self.box.daemon.poll() is not None, 'the end of batchd')
        self.assertEqual(self.each('--dry-run', 'echo', ':::', 'a', check=0).out, b'echo a\n')


if __name__ == '__main__':
    unittest.main()
