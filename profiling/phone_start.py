"""Why a program that was pushed to a phone does not start, and what to do."""

from __future__ import annotations

from profiling.phone_link import Finished, PhoneLink

# The shell's statuses: the file cannot be executed; the program met an instruction that the processor lacks (SIGILL).
CANNOT_EXECUTE, _ILLEGAL = 126, 132
_FOREIGN = ("exec format", "elf")


def make_executable(link: PhoneLink, path: str) -> None:
    """Set a file's run bits, which some phones drop when it arrives."""
    link.shell(["chmod", "755", path], check=False)


def start_advice(link: PhoneLink, path: str, done: Finished) -> str:
    """What follows after the reason why the program at ``path`` ended, empty where nothing is known."""
    if done.status == _ILLEGAL:
        return '; its processor lacks an instruction of the code: set target = "aarch64-neon" in the device\'s file'
    if done.status != CANNOT_EXECUTE:
        return ""
    if any(sign in done.reason.lower() for sign in _FOREIGN):
        return "; the phone's kernel does not run 64-bit ARM programs: no code can be generated for it"
    mode = link.shell(["ls", "-ld", path], check=False)[:10]
    if mode.startswith("-") and "x" not in mode:
        return f"; the file has no run bit ({mode}) and chmod cannot set it: restart the phone, and call again"
    if mount := _not_executable(link.script("cat /proc/mounts", "mounts"), path):
        return f"; the phone mounts {mount} with noexec: remount it with exec (root), or measure another phone"
    return (
        "; the phone's SELinux policy, or its owner's, forbids adb to run programs there ('adb logcat' names it): "
        "remove the work profile or device policy, or measure another phone"
    )


def _not_executable(mounts: str, path: str) -> str:
    """The mount that holds a path where nothing may run from it, else empty."""
    lines = [words for line in mounts.splitlines() if len(words := line.split()) > 3]
    over = [words for words in lines if f"{path}/".startswith(f"{words[1].rstrip('/')}/")]
    deepest = max(over, key=lambda words: len(words[1]), default=None)
    return deepest[1] if deepest is not None and "noexec" in deepest[3].split(",") else ""
