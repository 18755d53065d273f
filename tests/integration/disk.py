"""
What a disk may hold after the power is cut: a recording of the system calls that changed files, and every state that a crash at any
of them could leave.

`read_trace` turns what strace saw of a program into events; `Disk` replays them and keeps apart what is durable from what the page
cache holds. The rules are those of POSIX and no kinder: bytes are durable when an fsync or fdatasync of their file that began after
they were written has returned; a name is durable when its folder was synced, and that of a file which had none (O_TMPFILE) when the
file was synced since, too; syncfs does all of that for all there is. Each unsynced write
may be there, be missing, or be torn at a sector, whatever came before or after it; unsynced changes of one folder's names come in
their order, of which any beginning may be there. `Disk.crash` writes one such state into a real folder.
"""
import functools
import os
import re

SECTOR = 512
TRACED = ('open,openat,openat2,creat,write,pwrite64,writev,pwritev,pwritev2,splice,copy_file_range,sendfile,ftruncate,truncate,fallocate,'
          'fsync,fdatasync,syncfs,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir,symlink,symlinkat,sendmsg')
STRACE = ['strace', '-qq', '-f', '-y', '-xx', '-s', str(1 << 26), '-e', 'signal=none', '-e', 'trace=' + TRACED, '-o']

HEX = re.compile(r'((?:\\x[0-9a-f]{2})+)')
FD = re.compile(r'(\d+|AT_FDCWD)(?:<([^>]*)>)?')


def plain(hexed):
    """strace's \\x.. as bytes."""
    return bytes.fromhex(hexed.replace('\\x', ''))


def text(hexed):
    return HEX.sub(lambda m: plain(m[1]).decode('utf-8', 'surrogateescape'), hexed or '')


def calls(path):
    """
    (pid, call, arguments, result, entry) of each system call that succeeded, in two halves where others came in between: the first
    with the result None.
    """
    begun = {}
    with open(path, 'rb') as f:
        for line in f:
            line = line.decode('ascii', 'replace').rstrip('\n')
            pid, _, rest = line.partition(' ')
            rest = rest.lstrip()
            if rest.startswith('<... '):
                name, arguments = begun.pop(pid)
                result = rest.rpartition(' = ')[2]
                arguments += rest.partition('resumed>')[2].rpartition(' = ')[0].rstrip()
                yield pid, name, arguments, result, False
            elif rest.endswith('<unfinished ...>'):
                name, _, arguments = rest[:-len('<unfinished ...>')].partition('(')
                begun[pid] = name, arguments
                yield pid, name, arguments, None, True
            elif ' = ' in rest and '(' in rest:
                call, _, result = rest.rpartition(' = ')
                name, _, arguments = call.partition('(')
                yield pid, name, arguments, None, True
                yield pid, name, arguments, result, False


def first_fd(arguments):
    m = FD.match(arguments)
    return m[1], text(m[2])


def strings(arguments):
    return [plain(s) for s in re.findall(r'"((?:\\x[0-9a-f]{2})*)"', arguments)]


def joined(folder, name):
    return os.path.normpath(os.path.join(folder, os.fsdecode(name)))


def at_paths(arguments):
    """The paths of a call with folder fds: each string, relative to the fd before it."""
    found = re.findall(r'(?:(?:AT_FDCWD|\d+)<([^>]*)>, )?"((?:\\x[0-9a-f]{2})*)"', arguments)
    return [joined(text(folder), plain(name)) for folder, name in found]


def read_trace(path, root):
    """Events of what happened below `root` and what was sent on sockets: tuples whose first element says what they are."""
    @functools.cache
    def logs(path):
        """What was spliced is not in the trace: a log only grows, so it is what is there at the end, if it still is."""
        try:
            with open(path, 'rb') as f:
                return f.read()
        except FileNotFoundError:
            return b''

    for pid, name, arguments, result, entry in calls(path):
        if not entry and (result is None or result.startswith(('-1', '?'))):
            continue
        if name in ('write', 'pwrite64', 'writev', 'sendmsg'):
            if not entry:
                continue
            fd, where = first_fd(arguments)
            data = b''.join(strings(arguments)) if name != 'sendmsg' else b''.join(
                plain(s) for s in re.findall(r'iov_base="((?:\\x[0-9a-f]{2})*)"', arguments))
            if where.startswith('socket:'):
                yield 'sent', where, data
            elif where.startswith(root) and name == 'pwrite64':
                yield 'write', where, int(arguments.rstrip(')').rpartition(', ')[2]), data
            elif where.startswith(root):
                yield 'append', where, data
        elif name in ('fsync', 'fdatasync'):
            where = first_fd(arguments)[1]
            if where.startswith(root):
                yield 'sync begins' if entry else 'sync', where, pid
        elif name == 'syncfs':
            yield 'sync of all begins' if entry else 'sync of all', root, pid
        elif entry:
            continue
        elif name == 'splice':
            m = re.search(r', \d+<([^>]*)>, \[(\d+)', arguments)
            if m and text(m[1]).startswith(root):
                where = text(m[1])
                at, n = int(m[2]), int(result)
                yield 'write', where, at, logs(where)[at:at + n].ljust(n, b'?')
        elif name in ('open', 'openat', 'creat', 'openat2'):
            where = at_paths(arguments)[0]
            if 'O_TMPFILE' in arguments:
                where = first_fd(result)[1]
                if where.startswith(root):
                    yield 'nameless', where
            elif where.startswith(root) and 'O_CREAT' in arguments:
                yield 'create', where, 'O_TRUNC' in arguments
        elif name == 'linkat' and 'AT_EMPTY_PATH' in arguments:
            where = at_paths(arguments)[-1]
            if where.startswith(root):
                yield 'link', first_fd(arguments)[1], where
        elif name in ('mkdir', 'mkdirat'):
            where = at_paths(arguments)[0]
            if where.startswith(root):
                yield 'mkdir', where
        elif name in ('rename', 'renameat', 'renameat2'):
            a, b = at_paths(arguments)
            if b.startswith(root):
                yield 'rename', a, b
        elif name in ('unlink', 'unlinkat', 'rmdir'):
            where = at_paths(arguments)[0]
            if where.startswith(root):
                yield 'unlink', where
        elif name == 'ftruncate':
            where = first_fd(arguments)[1]
            if where.startswith(root):
                yield 'truncate', where, int(arguments.rstrip(')').rpartition(', ')[2])
        elif name != 'fallocate' or 'KEEP_SIZE' not in arguments and first_fd(arguments)[1].startswith(root):
            raise AssertionError('a call that this disk does not know: %s(%s' % (name, arguments[:200]))


LINK = 'link'


class File:
    def __init__(self, data=b'', linked=True):
        self.data, self.durable, self.unsynced = bytearray(data), bytearray(data), []
        self.linked = linked        # that it has a name at all is durable

    def link(self):
        self.unsynced.append((LINK, None))

    def write(self, offset, data):
        self.unsynced.append((offset, bytes(data)))
        put(self.data, offset, data)

    def truncate(self, size):
        self.unsynced.append((None, size))
        resize(self.data, size)

    def sync(self, n):
        for offset, data in self.unsynced[:n]:
            if offset == LINK:
                self.linked = True
            else:
                put(self.durable, offset, data) if offset is not None else resize(self.durable, data)
        del self.unsynced[:n]

    def after_crash(self, random, keep):
        data = bytearray(self.durable)
        for offset, what in self.unsynced:
            if offset == LINK or random.random() >= keep:
                continue
            if offset is None:
                resize(data, what)
            elif keep == 1 or random.random() < 0.5:
                put(data, offset, what)
            else:       # torn: some of its sectors
                at = 0
                while at < len(what):
                    end = min(len(what), at + SECTOR - (offset + at) % SECTOR)
                    if random.random() < 0.5:
                        put(data, offset + at, what[at:end])
                    at = end
        return data


def put(data, offset, what):
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset:offset + len(what)] = what


def resize(data, size):
    del data[size:]
    data.extend(bytes(size - len(data)))


class Folder:
    def __init__(self):
        self.names, self.durable, self.unsynced = {}, {}, []

    def change(self, *changes):
        """Each (name, inode or None); together or not at all."""
        self.unsynced.append(changes)
        apply(self.names, changes)

    def sync(self, n):
        for changes in self.unsynced[:n]:
            apply(self.durable, changes)
        del self.unsynced[:n]

    def after_crash(self, random, keep):
        names = dict(self.durable)
        n = len(self.unsynced)
        for changes in self.unsynced[:n if keep == 1 else 0 if keep == 0 else random.randint(0, n)]:
            apply(names, changes)
        return names


def apply(names, changes):
    for name, inode in changes:
        if inode is None:
            names.pop(name, None)
        else:
            names[name] = inode


def inodes(folder):
    yield folder
    for inode in folder.names.values():
        if isinstance(inode, Folder):
            yield from inodes(inode)
        else:
            yield inode


class Disk:
    """`root` as it is now counts as durable."""

    def __init__(self, root):
        self.root = root
        self.top = self.scan(root)
        self.syncing, self.nameless = {}, {}

    def scan(self, path):
        folder = Folder()
        for e in os.scandir(path):
            if e.is_dir(follow_symlinks=False):
                folder.names[e.name] = self.scan(e.path)
            elif e.is_file(follow_symlinks=False):
                with open(e.path, 'rb') as f:
                    folder.names[e.name] = File(f.read())
        folder.durable = dict(folder.names)
        return folder

    def find(self, path):
        if path in self.nameless:
            return self.nameless[path]
        at = self.top
        for name in [p for p in os.path.relpath(path, self.root).split('/') if p != '.']:
            at = at.names.get(name) if isinstance(at, Folder) else None
        return at

    def folder(self, path):
        return self.find(os.path.dirname(path)), os.path.basename(path)

    def apply(self, event):
        what, path, *rest = event
        if what == 'create':
            folder, name = self.folder(path)
            if name not in folder.names:
                folder.change((name, File()))
            elif rest[0]:
                folder.names[name].truncate(0)
        elif what == 'nameless':
            self.nameless[path] = File(linked=False)
        elif what == 'link':
            folder, name = self.folder(rest[0])
            self.nameless[path].link()
            folder.change((name, self.nameless[path]))
        elif what == 'mkdir':
            folder, name = self.folder(path)
            folder.change((name, Folder()))
        elif what == 'rename':
            (a, old), (b, new) = self.folder(path), self.folder(rest[0])
            assert a is b, 'a rename between folders: %r' % (event,)
            if old in a.names:      # a socket is no file of ours
                a.change((new, a.names[old]), (old, None))
        elif what == 'unlink':
            folder, name = self.folder(path)
            if name in folder.names:
                folder.change((name, None))
        elif what == 'sync begins':
            inode = self.find(path)
            self.syncing[rest[0]] = inode, len(inode.unsynced) if inode else 0
        elif what == 'sync':
            inode, n = self.syncing.pop(rest[0])
            if inode:
                inode.sync(n)
        elif what == 'sync of all begins':
            there = list(inodes(self.top)) + [f for f in self.nameless.values() if not f.linked]
            self.syncing[rest[0]] = [(inode, len(inode.unsynced)) for inode in dict.fromkeys(there)]
        elif what == 'sync of all':
            for inode, n in self.syncing.pop(rest[0]):
                inode.sync(n)
        elif what in ('write', 'append', 'truncate'):
            inode = self.find(path)
            if inode is None:       # unlinked and still open
                return
            if what == 'truncate':
                inode.truncate(*rest)
            elif what == 'append':
                inode.write(len(inode.data), *rest)
            else:
                inode.write(*rest)

    def crash(self, random, keep, path):
        """Writes to the empty folder `path` what of `path` on this disk survives. `keep`: 0 nothing unsynced, 1 all, else its likelihood."""
        self.put_folder(self.after(self.top, random, keep, os.path.relpath(path, self.root).split('/')), random, keep, path)

    def after(self, folder, random, keep, parts):
        for name in parts:
            folder = folder.after_crash(random, keep).get(name) or Folder()
        return folder

    def put_folder(self, folder, random, keep, path):
        for name, inode in folder.after_crash(random, keep).items():
            where = os.path.join(path, name)
            if isinstance(inode, Folder):
                os.mkdir(where, 0o700)
                self.put_folder(inode, random, keep, where)
            elif inode.linked or random.random() < keep:
                with open(os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'wb') as f:
                    f.write(inode.after_crash(random, keep))
