"""Files of somebody who wishes no good: what they would do if they were believed is leave a folder."""

import base64
import json
import os
import pickle
import zipfile

EXECUTED = "executed"


class Canary:
    """A pickle of it makes a folder when it is loaded."""

    def __reduce__(self):
        return os.mkdir, (EXECUTED,)


PICKLE = pickle.dumps(Canary())


def billion_laughs(levels=9):
    """A few lines that stand for a billion words."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]")
    return "\n".join(lines)


def sb3_file(path):
    """What looks like SB3's file and holds a pickle where SB3 unpickles: `data`, and PyTorch's weights."""
    entry = {":type:": "x", ":serialized:": base64.b64encode(PICKLE).decode()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps({"policy_class": entry, "observation_space": entry}))
        archive.writestr("policy.pth", PICKLE)
        archive.writestr("pytorch_variables.pth", PICKLE)
        archive.writestr("_stable_baselines3_version", "2.2.1")
