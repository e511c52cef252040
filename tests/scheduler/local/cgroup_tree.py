"""A tree of control groups (version 2) in a directory of its own, that refuses what the kernel refuses."""

import errno
import shutil
from pathlib import Path

CONTROLLERS = ("cpu", "memory", "pids")
_FILES = {
    "cpu": {"cpu.weight": "100"},
    "memory": {"memory.max": "max", "memory.oom.group": "0"},
    "pids": {"pids.max": "max"},
}


class CgroupTree:
    """
    Stands in for C{/sys/fs/cgroup} and C{/proc}.

    While it is installed, C{Path.mkdir}, C{rmdir} and C{write_text} below it do what the kernel does there.

    @ivar killed: the groups that were killed.
    """

    def __init__(self, case, own="/user.slice/waiter.scope", *, pid, controllers=CONTROLLERS):
        top = Path(case.mktemp()).absolute()
        self.root = top / "cgroup"
        self.proc = top / "proc"
        self.pid = pid
        self.killed = []
        self.root.mkdir(parents=True)
        (self.root / "cgroup.controllers").write_text(" ".join(controllers))
        (self.root / "cgroup.subtree_control").write_text(" ".join(controllers))
        (self.root / "cgroup.procs").write_text("")
        (self.proc / "self").mkdir(parents=True)
        (self.proc / "self" / "mountinfo").write_text(
            "22 1 0:20 / /proc rw - proc proc rw\n"
            f"30 22 0:26 / {self.root} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
        )
        for name in ("mkdir", "rmdir", "write_text"):
            case.patch(Path, name, self._instead(name, getattr(Path, name)))
        for group in reversed([self.group(own), *self.group(own).parents]):
            if group.is_relative_to(self.root) and group != self.root:
                group.mkdir(exist_ok=True)
                (group / "cgroup.subtree_control").write_text("") if group == self.group(own) else self._force(
                    group / "cgroup.subtree_control", " ".join(controllers)
                )
        self.add(pid, own)

    def group(self, name):
        return self.root / name.strip("/")

    def add(self, pid, name):
        """Let a process be in a group."""
        (self.proc / str(pid)).mkdir(exist_ok=True, parents=True)
        self._force(self.group(name) / "cgroup.procs", str(pid), add=True)
        self._show(pid, self.group(name))

    def processes(self, name):
        return [int(each) for each in (self.group(name) / "cgroup.procs").read_text().split()]

    def read(self, name):
        return self.group(name).read_text()

    def end(self, pid):
        """Let a process end."""
        for procs in self.root.rglob("cgroup.procs"):
            left = [each for each in procs.read_text().split() if each != str(pid)]
            self._force(procs, "\n".join(left))

    def _instead(self, name, original):
        ours = getattr(self, f"_{name}")
        self.__dict__[f"_original_{name}"] = original

        def instead(path, *args, **kwargs):
            return ours(path, *args, **kwargs) if path.is_relative_to(self.root) else original(path, *args, **kwargs)

        return instead

    def _mkdir(self, path, mode=0o777, *, exist_ok=False, **_):
        if path.exists() and exist_ok:
            return
        self._original_mkdir(path, mode)
        offered = (path.parent / "cgroup.subtree_control").read_text().split()
        files = {"cgroup.type": "domain", "cgroup.procs": "", "cgroup.subtree_control": "", "cgroup.kill": ""}
        files["cgroup.controllers"] = " ".join(offered)
        for controller in offered:
            files.update(_FILES[controller])
        for file, text in files.items():
            self._force(path / file, text)

    def _rmdir(self, path):
        if (path / "cgroup.procs").read_text().split() or any(each.is_dir() for each in path.iterdir()):
            raise OSError(errno.EBUSY, "Device or resource busy")
        shutil.rmtree(path)

    def _write_text(self, path, text, **_):
        if not path.exists():
            raise PermissionError(errno.EACCES, "Permission denied")
        if path.name == "cgroup.procs":
            self._move(int(text), path.parent)
        elif path.name == "cgroup.subtree_control":
            self._enable(text, path)
        elif path.name == "cgroup.kill":
            self.killed.append(path.parent)
        else:
            self._force(path, text)

    def _enable(self, text, path):
        wanted = [each.removeprefix("+") for each in text.split()]
        if wanted and (path.parent / "cgroup.procs").read_text().split():
            raise OSError(errno.EBUSY, "Device or resource busy")
        if not set(wanted) <= set((path.parent / "cgroup.controllers").read_text().split()):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        self._force(path, " ".join(wanted), add=True)
        for group in path.parent.iterdir():
            if group.is_dir():
                self._force(group / "cgroup.controllers", " ".join(wanted), add=True)
                for controller in wanted:
                    for file, value in _FILES[controller].items():
                        self._force(group / file, value)

    def _move(self, pid, group):
        if (group / "cgroup.subtree_control").read_text().split():
            raise OSError(errno.EBUSY, "Device or resource busy")
        self.end(pid)
        self._force(group / "cgroup.procs", str(pid), add=True)
        self._show(pid, group)

    def _show(self, pid, group):
        text = f"1:name=systemd:/else\n0::/{group.relative_to(self.root)}\n"
        names = [str(pid), "self"] if pid == self.pid else [str(pid)]
        for name in names:
            self._original_mkdir(self.proc / name, exist_ok=True)
            (self.proc / name / "cgroup").write_text(text)

    def _force(self, path, text, *, add=False):
        before = path.read_text() if add and path.exists() else ""
        self._original_write_text(path, f"{before}\n{text}" if before else text)
