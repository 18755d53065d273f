#!/usr/bin/python3
"""
Keeps what the architecture promises and no compiler sees: lint.py [CHECK...]

    arrows   who may include whom: common <- proto <- {client, daemon}, and within the daemon
    sizes    no function above 100 lines, no file above 700
    layout   nothing at the root but what belongs there
    scripts  shell scripts pass shellcheck, have their run bit and a known interpreter
    words    no unfinished business left in the sources

Prints a line FILE:LINE: WHAT for each finding; exit status 1 when there is one, 77 (skipped) when a tool is missing.
"""
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Which library an include that is not libc's belongs to.
LIBRARIES = {
    'msgpack': r'msgpack(\.h|/)', 'jansson': r'jansson', 'sqlite': r'sqlite3\.h', 'event': r'event2/|event\.h',
    'md': r'(sha2|sha1|md5|rmd160|sha256|sha512)\.h', 'check': r'check\.h', 'uthash': r'ut(hash|list|array|string)\.h',
    'sockets': r'sys/(socket|un)\.h|netinet/|arpa/',
}

# Folder: project headers it may include (prefixes), libraries it may use. The longest prefix that fits a file decides.
ARROWS = {
    'common': (['common/'], ['sockets', 'uthash']),
    'proto': (['common/', 'proto/'], ['msgpack', 'md', 'uthash']),
    'client': (['common/', 'proto/', 'client/'], ['jansson', 'uthash', 'sockets']),
    'daemon': (['common/', 'proto/', 'daemon/'], ['event', 'sockets']),
    'daemon/record': (['common/', 'proto/', 'daemon/record.h'], []),
    'daemon/txn': (['common/', 'proto/', 'daemon/record.h', 'daemon/txn.h'], []),
    'daemon/engine': (['common/', 'proto/', 'daemon/record.h', 'daemon/txn.h', 'daemon/engine/', 'daemon/exec/executor.h'],
                      ['uthash']),
    'daemon/store': (['common/', 'proto/', 'daemon/record.h', 'daemon/txn.h', 'daemon/store/', 'daemon/exec/runlog.h'],
                     ['sqlite', 'event', 'uthash']),
    'daemon/exec': (['common/', 'proto/', 'daemon/record.h', 'daemon/exec/', 'daemon/spawner/table_file.h'], ['event', 'md', 'uthash', 'sockets']),
    'daemon/rpc': (['common/', 'proto/', 'daemon/record.h', 'daemon/txn.h', 'daemon/rpc/', 'daemon/engine/', 'daemon/exec/work.h', 'daemon/exec/output.h', 'daemon/store/store.h', 'daemon/store/keep.h',
                    'daemon/store/sql_read.h', 'daemon/exec/runlog.h'], ['event', 'uthash', 'sockets']),
    'daemon/spawner': (['common/', 'proto/spawn_wire.h', 'proto/limits.h', 'daemon/spawner/'], ['sockets']),
}

AT_ROOT = {'meson.build', 'meson_options.txt', 'daemon', 'client', 'common', 'proto', 'tests', 'systemd', 'README.md', 'LICENSE',
           'CHANGELOG.md', 'demo', 'check'}
MUST_RUN = ['demo', 'check', '.ci/run']

FUNCTION_LINES = 100
FILE_LINES = 700
UNFINISHED = re.compile(r'\b(FIXME\b|XXX\b|HACK\b|TODO:)|\b(?i:not implemented|unimplemented)\b')


def tracked():
    """Every file of the project, as git knows it; without git, as they lie there."""
    try:
        out = subprocess.run(['git', '-C', ROOT, 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
                             capture_output=True, check=True).stdout
        names = [os.fsdecode(n) for n in out.split(b'\0') if n]
        return sorted(n for n in names if os.path.exists(os.path.join(ROOT, n)))
    except (OSError, subprocess.CalledProcessError):
        found = []
        for folder, folders, files in os.walk(ROOT):
            folders[:] = [d for d in folders if d not in ('.git', '__pycache__') and not d.startswith('build')]
            found += [os.path.relpath(os.path.join(folder, f), ROOT) for f in files]
        return sorted(found)


def lines(name):
    with open(os.path.join(ROOT, name), encoding='utf-8', errors='replace') as f:
        return f.read().split('\n')


def sources():
    return [n for n in tracked() if n.endswith(('.c', '.h', '.def')) and not n.startswith('tests/')]


def arrow_of(name):
    """The rule for a file, by the longest key that begins its path."""
    stem = name.rsplit('.', 1)[0]
    keys = [k for k in ARROWS if stem == k or stem.startswith(k + '/')]
    return max(keys, key=len) if keys else None


def arrows():
    for name in sources():
        rule = arrow_of(name)
        if rule is None:
            yield '%s:1: no folder of the architecture' % name
            continue
        headers, libraries = ARROWS[rule]
        for number, line in enumerate(lines(name), 1):
            m = re.match(r'\s*#\s*include\s*(["<])([^">]+)[">]', line)
            if not m:
                continue
            kind, target = m.groups()
            if kind == '"':
                if not any(target == h or h.endswith('/') and target.startswith(h) for h in headers):
                    yield '%s:%d: %s may not include %s' % (name, number, rule, target)
            else:
                for library, pattern in LIBRARIES.items():
                    if re.match(pattern, target) and library not in libraries:
                        yield '%s:%d: %s may not use %s (%s)' % (name, number, rule, library, target)


def sizes():
    for name in sources():
        text = lines(name)
        if len(text) - 1 > FILE_LINES:
            yield '%s:1: %d lines, more than %d: is there a noun hiding in it?' % (name, len(text) - 1, FILE_LINES)
        begun = None
        for number, line in enumerate(text, 1):
            if line.startswith('{'):
                begun = number
            elif line.startswith('}') and begun:
                if number - begun - 1 > FUNCTION_LINES:
                    yield '%s:%d: a function of %d lines, more than %d' % (name, begun, number - begun - 1, FUNCTION_LINES)
                begun = None


def layout():
    top = {n.split('/')[0] for n in tracked()}
    for entry in sorted(top):
        if not entry.startswith('.') and entry not in AT_ROOT:
            yield '%s:1: does not belong at the root' % entry
    for name in ('README.md', 'LICENSE', 'CHANGELOG.md', *MUST_RUN):
        if not os.path.exists(os.path.join(ROOT, name)):
            yield '%s:1: missing' % name
    for name in tracked():
        if '__pycache__' in name or name.endswith(('.pyc', '.o', '.orig', '.rej', '~')):
            yield '%s:1: a leftover' % name


def shell_scripts():
    for name in tracked():
        path = os.path.join(ROOT, name)
        if os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, 'rb') as f:
            first = f.readline(200)
        if first.startswith(b'#!'):
            yield name, first.decode('utf-8', 'replace').strip()


def scripts():
    found = list(shell_scripts())
    for name, first in found:
        if not os.access(os.path.join(ROOT, name), os.X_OK):
            yield '%s:1: begins with %s but has no run bit' % (name, first)
    for name in MUST_RUN:
        if name not in [n for n, _ in found]:
            yield '%s:1: does not begin with #!' % name
    shell = [n for n, first in found if re.search(r'\b(ba)?sh\b', first)]
    if not shutil.which('shellcheck'):
        print('shellcheck is not installed: %d scripts were not looked into' % len(shell))
        yield None
        return
    run = subprocess.run(['shellcheck', '-x', '-f', 'gcc', '-S', 'warning', *shell], cwd=ROOT, capture_output=True, text=True)
    yield from run.stdout.splitlines()


def words():
    for name in tracked():
        if not name.endswith(('.c', '.h', '.def', '.py', '.md', '.build')) or name.startswith('tests/lint/'):
            continue
        for number, line in enumerate(lines(name), 1):
            if UNFINISHED.search(line):
                yield '%s:%d: unfinished: %s' % (name, number, line.strip()[:80])


CHECKS = {'arrows': arrows, 'sizes': sizes, 'layout': layout, 'scripts': scripts, 'words': words}


def main(names):
    for name in names:
        if name not in CHECKS:
            sys.exit('lint.py: no check %s; there are: %s' % (name, ' '.join(CHECKS)))
    found = [f for n in names or CHECKS for f in CHECKS[n]()]
    real = [f for f in found if f]
    print('\n'.join(real + ['%d findings' % len(real)]))
    return 1 if real else 77 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
