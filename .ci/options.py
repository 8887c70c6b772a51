"""Options of programs, compared with what their help says."""

import functools
import re
import subprocess


@functools.cache
def help_of(*command):
    """What a program says about its options; `None` if it does not exist."""
    run = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False)
    return run.stdout + run.stderr if run.returncode == 0 else None


def problems(words, *command):
    """Options that a program does not name."""
    text = help_of(*command)
    if text is None:
        yield f"there is no {' '.join(command)}"
        return
    for word in words:
        option = word.split("=")[0]
        if re.fullmatch(r"--?[a-zA-Z][\w-]*", option) and not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text):
            yield f"{' '.join(command)} has no option {option}"
