"""The users of this machine."""

import os
import pwd
import stat
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class User:
    """
    A user of this machine.

    @ivar groups: the numbers of all groups the user is in, C{gid} among them.
    @ivar home: what the machine says is the home directory, whether there is one or not.
    """

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def own_user() -> str:
    """
    Who this process runs as. Not what C{LOGNAME} or C{USER} say, which sudo and others leave as they were.
    """
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        # A user without a name, as containers have.
        return str(os.geteuid())


def find_user(name: str) -> User | None:
    """
    A user by name; C{None} if there is none. Quick where users are in files; a directory server may take its time.

    @raise OSError: the users cannot be asked for.
    """
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        # ValueError: a name that no user can have.
        return None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir)


def barrier(user: User, path: Path) -> Path | None:
    """
    The first directory on the way to C{path}, itself included, that a user other than root cannot pass; C{None} if there
    is none.

    @raise OSError: one of them is not there.
    """
    for directory in (*reversed(path.parents), path):
        found = directory.stat()
        if found.st_uid == user.uid:
            needed = stat.S_IXUSR
        else:
            needed = stat.S_IXGRP if found.st_gid in user.groups else stat.S_IXOTH
        if not found.st_mode & needed:
            return directory
    return None
