"""Nothing in this package needs what only Linux has. The tests run on no other: it is taken away here."""

import importlib
import os
import signal
import sys

import pytest

from cesma_sb3.utils.doctor.packages import own_modules

MODULES = ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "readline", "syslog")
"""Modules that Windows does not have."""
OF_OS = (
    *("chown", "fchmod", "fchown", "fork", "forkpty", "getegid"),
    *("geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp"),
    *("getpriority", "getsid", "getuid", "initgroups", "killpg", "lchown"),
    *("mkfifo", "mknod", "nice", "openpty", "pathconf"),
    *("register_at_fork", "sched_getaffinity", "sched_setaffinity", "setpgid", "setpgrp", "setsid"),
    *("setuid", "statvfs", "sysconf", "uname", "wait4", "O_CLOEXEC"),
    *("O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_SYNC"),
)
OF_SIGNAL = (
    *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE"),
    *("SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1", "SIGUSR2", "SIG_BLOCK"),
    *("SIG_UNBLOCK", "alarm", "pthread_kill", "pthread_sigmask", "setitimer", "sigwait"),
)


@pytest.fixture
def elsewhere(monkeypatch):
    """This package, imported again on a system that lacks all of these; the one from before is put back."""
    names = own_modules()
    for name in names:  # and so the libraries that it needs, which have ways of their own
        importlib.import_module(name)
    with monkeypatch.context() as patch:
        for name in names:
            patch.delitem(sys.modules, name)
        for name in MODULES:
            patch.setitem(sys.modules, name, None)
        for owner, missing in ((os, OF_OS), (signal, OF_SIGNAL)):
            for name in missing:
                patch.delattr(owner, name, raising=False)
        yield {name: importlib.import_module(name) for name in names}
        for name in {*sys.modules} - {*names}:
            if name.startswith("cesma_sb3."):
                del sys.modules[name]


def test_every_module_is_imported_and_what_touches_the_system_works(elsewhere, monkeypatch, tmp_path):
    utils = {name.rpartition(".")[2]: module for name, module in elsewhere.items() if ".utils." in name}
    assert utils["processes"].cores() >= 1
    utils["atomic"].write(tmp_path / "file", lambda path: path.write_text("whole"))
    utils["atomic"].write_folder(tmp_path / "folder", {"inner/file": b"whole"})
    assert (tmp_path / "folder" / "inner" / "file").read_bytes() == b"whole"
    with utils["signals"].DeferredInterrupt().deferred(), utils["signals"].terminated_as_interrupted():
        pass
    ended = []
    job = utils["processes"].Job("one", (sys.executable, "-S", "-c", "print(1)"), tmp_path / "log")
    utils["processes"].run_jobs([job], 1, started=lambda job: None, ended=lambda *how: ended.append(how[1]))
    assert (ended, (tmp_path / "log").read_text()) == ([0], "1\n")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    monkeypatch.setattr(sys, "platform", "darwin")
    assert utils["user_folders"].cache_folder() == tmp_path / "Library" / "Caches"
    monkeypatch.setattr(sys, "platform", "win32")
    assert utils["user_folders"].cache_folder() == tmp_path / "local"
    utils["memory"].memory()
