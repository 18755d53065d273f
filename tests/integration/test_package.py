"""What is installed: the man pages, and the Debian package that systemd/make-deb builds."""
import os
import re
import shutil
import signal
import subprocess
import unittest

from harness import BUILD, ROOT, SLOW, Case

PAGE = os.path.join(BUILD, 'client', 'batchd-protocol.7')


def run(*argv, **kw):
    return subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)


class ProtocolPage(unittest.TestCase):
    """batchd-protocol(7) is of one text with proto/PROTOCOL.md."""

    def test_it_tells_of_every_method_error_and_key(self):
        if not os.path.exists(PAGE):
            self.skipTest('scdoc is not installed, or its page not built')
        with open(PAGE) as f:
            page = re.sub(r'\\f[BIRP]|\\&|\\', '', f.read())
        with open(os.path.join(ROOT, 'proto', 'PROTOCOL.md')) as f:
            text = f.read()
        said = set(re.findall(r'`(\w+\.\w+|E_\w+)`', text)) | set(re.findall(r'(?m)^\| `(\w+)`', text))
        self.assertGreater(len(said), 150)
        self.assertEqual([], sorted(word for word in said if word not in page))
        self.assertNotIn('`', re.sub(r'(?s)\.nf.*?\.fi', '', page).replace('``', ''))


class Package(Case):
    daemon = False

    @unittest.skipUnless(shutil.which('dpkg-deb') and shutil.which('dpkg-shlibdeps'), 'dpkg-deb or dpkg-shlibdeps is not installed')
    @unittest.skipUnless(shutil.which('meson'), 'meson is not installed')
    def test_debian(self):
        signal.alarm(int(540 * SLOW))   # it compiles everything once more: no test's one minute is meant for that
        build = os.path.join(self.box.dir, 'build')
        built = run(os.path.join(ROOT, 'systemd', 'make-deb'), '-b', build, '-o', self.box.path('out'))
        self.assertEqual(0, built.returncode, built.stderr.decode()[-3000:])
        deb = built.stdout.decode().strip().splitlines()[-1]
        fields = run('dpkg-deb', '-f', deb).stdout.decode()
        self.assertRegex(fields, r'(?m)^Package: batchd$')
        for library in ('libc6', 'libevent', 'libsqlite3', 'libjansson'):
            self.assertRegex(fields, r'(?m)^Depends: .*\b%s' % library)
        self.assertEqual(0, run('dpkg-deb', '-x', deb, self.box.path('root')).returncode)
        self.assertEqual(0, run('dpkg-deb', '-e', deb, self.box.path('control')).returncode)
        for path in ('bin/batchctl', 'bin/batchd', 'libexec/batchd/batchd-spawner', 'lib/systemd/user/batchd.service',
                     'lib/systemd/user/batchd.socket', 'share/bash-completion/completions/batchctl', 'share/zsh/site-functions/_batchctl',
                     'share/fish/vendor_completions.d/batchctl.fish', 'share/doc/batchd/copyright'):
            self.assertTrue(self.box.exists('root', 'usr', path), path)
        said = run('sh', self.box.path('control', 'postinst'), 'configure', '').stdout.decode()
        self.assertIn('systemctl --user enable --now batchd.service', said)
        sums = run('md5sum', '--quiet', '-c', self.box.path('control', 'md5sums'), cwd=self.box.path('root'))
        self.assertEqual((0, b''), (sums.returncode, sums.stdout))
        # and what is in it works
        ctl = self.box.path('root', 'usr', 'bin', 'batchctl')
        path = {'PATH': os.path.dirname(ctl) + ':' + self.box.path('root/usr/libexec/batchd') + ':/usr/bin:/bin'}
        done = self.box.ctl('run', '--', 'echo packed', program=ctl, env=path, check=0)
        self.assertEqual('packed\n', done.text)

    def test_usage(self):
        done = run(os.path.join(ROOT, 'systemd', 'make-deb'), '-x')
        self.assertEqual(2, done.returncode)
        self.assertIn(b'systemd/make-deb [-b BUILD] [-o FOLDER]', done.stderr)
