"""What is wrong with an installation, and the commands that mend it. Nothing is asked of the network.

This works in a broken environment: the standard library is all that is imported here, and packages are tried
in a process of their own.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from cesma_sb3.errors import error_line
from cesma_sb3.utils.doctor import machine, packages
from cesma_sb3.utils.doctor.finding import NOTE, OK, WRONG, Finding
from cesma_sb3.utils.doctor.probe import Probe, look
from cesma_sb3.utils.installation import NAME, version_of
from cesma_sb3.utils.secrets import masked

_COLUMNS = 110


@dataclass(frozen=True)
class Diagnosis:
    """All findings.

    Attributes:
        findings: In the order of their topics.
    """

    findings: tuple[Finding, ...]

    @property
    def wrong(self) -> list[Finding]:
        """What is to be mended."""
        return [each for each in self.findings if each.status == WRONG]

    def to_json(self) -> str:
        """Format as JSON: `ok`, and `findings` with the attributes of `Finding`."""
        findings = [dataclasses.asdict(each) for each in self.findings]
        return json.dumps({"ok": not self.wrong, "findings": findings}, indent=2)

    def to_text(self) -> str:
        """Format for a person: a paragraph for each topic, then what is wrong, each with its command."""
        lines: list[str] = []
        for topic, group in groupby(self.findings, key=lambda each: each.topic):
            found = list(group)
            told = ", ".join(f"{each.name} {each.text}" for each in found if each.status == OK)
            lines += _paragraph(told, topic) if told else []
            for each in found:
                lines += _item(each, topic) if each.status == NOTE else []
        for each in self.wrong:
            lines += _item(each, "WRONG")
        count = len(self.wrong)
        lines.append(f"wrong: {count}" if count else "nothing is wrong")
        return "\n".join(lines)


def _paragraph(text: str, topic: str) -> list[str]:
    wrapper = textwrap.TextWrapper(
        _COLUMNS, subsequent_indent=" " * 11, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(f"{topic:11}{text}")


def _item(finding: Finding, topic: str) -> list[str]:
    lines = _paragraph(f"{finding.name} {finding.text}", topic)
    return [*lines, f"{'':13}{finding.fix}"] if finding.fix else lines


def diagnose() -> Diagnosis:
    """Look at everything that the topics of `Finding` name. It takes ten seconds or so."""
    probe, findings = Probe(), list(_looked("python", packages.python))
    if version_of(NAME) is not None:
        if version_of("packaging") is None:
            text = "is not installed: versions are not compared"
            findings.append(Finding("packages", "packaging", text, WRONG, "pip install packaging"))
        else:
            probe = look(packages.modules_to_try(), packages.own_modules())
            findings += _looked("packages", lambda: packages.packages(probe))
            findings += _looked("extras", lambda: packages.extras(probe))
    findings += _looked("machine", lambda: machine.threads(probe.torch))
    findings += _looked("gpu", lambda: machine.gpu(probe.torch))
    findings += _looked("folders", machine.folders)
    findings += _looked("starcraft", machine.starcraft)
    return Diagnosis(tuple(map(_for_others, findings)))


def _for_others(finding: Finding) -> Finding:
    """Leave out passwords and the home folder's name, which is the user's: findings are sent to others."""
    home = os.path.expanduser("~")  # noqa: PTH111  # where there is none this is `~` and no error

    def cleaned(text: str) -> str:
        return re.sub(rf"{re.escape(home)}(?![\w.-])", "~", masked(text)) if len(home) > 1 else masked(text)

    return dataclasses.replace(finding, text=cleaned(finding.text), fix=finding.fix and cleaned(finding.fix))


def _looked(topic: str, look_at: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What was found; an error of the search itself is one more finding, and not the end of it."""
    try:
        yield from look_at()
    except Exception as error:  # such as metadata that is torn
        yield Finding(topic, topic, f"cannot be looked at: {error_line(error)}", WRONG)
