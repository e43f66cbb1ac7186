"""Progress: lines where there is no terminal, a bar where there is one."""

import io

import pytest
from rich.console import Console

from cesma_sb3.utils.progress import StageProgress, announce, duration


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def console():
    return Console(file=io.StringIO(), force_terminal=False, width=60)


def lines_of(console):
    return console.file.getvalue().splitlines()


def test_lines_come_now_and_then(console, clock):
    with StageProgress("expert", 10_000, console=console, clock=clock) as progress:
        for step in range(100):
            clock.now += 1.0
            progress.update((step + 1) * 100, {"return": -50.123 + step, "loss": float("nan")})
    lines = lines_of(console)
    assert lines[0] == "expert: 10,000 steps"
    assert lines[1] == "expert: 1,500/10,000 steps (15%), 100/s, 1:25 left, return -36.12"
    assert lines[-1] == "expert: done after 10,000 steps in 1:40, 100/s, return 48.88"
    assert len(lines) == 2 + 100 // 15


def test_the_rate_of_a_resumed_stage_is_that_of_its_own_steps(console, clock):
    with StageProgress("expert", 10_000, console=console, clock=clock) as progress:
        progress.update(6_000, resumed=True)
        for step in range(40):
            clock.now += 1.0
            progress.update(6_000 + (step + 1) * 100)
    lines = lines_of(console)
    assert lines[1] == "expert: 7,500/10,000 steps (75%), 100/s, 0:25 left"
    assert lines[-1] == "expert: done after 10,000 steps in 0:40, 100/s"


def test_a_stage_that_had_ended_before_has_no_rate(console, clock):
    with StageProgress("expert", 4_000, console=console, clock=clock) as progress:
        clock.now += 2.0
        progress.update(4_000, resumed=True)
        progress.update(4_000, {"return": 3.5})
    assert lines_of(console)[-1] == "expert: done after 4,000 steps in 0:02, 0/s, return 3.5"


def test_the_bar_of_a_resumed_stage_knows_no_steps_of_before():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    progress = StageProgress("students", 1_000, console=console)
    with progress:
        progress.update(900, resumed=True)
        task = progress._display.progress.tasks[0]
        assert (task.completed, task.speed) == (900, None)


def test_a_stage_that_ends_early_says_so(console, clock):
    def stage():
        with StageProgress("expert", 10, console=console, clock=clock) as progress:
            progress.update(3)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stage()
    assert lines_of(console) == ["expert: 10 steps", "expert: ended early after 3 steps in 0:00"]


def test_a_stage_that_is_refused_says_nothing(console, clock):
    with pytest.raises(ZeroDivisionError), StageProgress("expert", 10, console=console, clock=clock):
        raise ZeroDivisionError
    assert lines_of(console) == []


@pytest.mark.parametrize(("total", "enabled"), [(10, False), (0, True)])
def test_nothing_is_shown(total, enabled, console):
    with StageProgress("expert", total, enabled=enabled, console=console) as progress:
        progress.update(5)
    assert lines_of(console) == []


def test_a_bar_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with StageProgress("students", 1_000, console=console) as progress:
        progress.update(1_000, {"return": -17.5})
    text = console.file.getvalue()
    assert "students" in text
    assert "100% of 1,000" in text
    assert "return -17.5" in text


def test_numbers_may_be_computed_when_they_are_shown_and_only_then(console, clock):
    asked = []
    with StageProgress("students", 100, console=console, clock=clock) as progress:
        for step in range(100):
            progress.update(step, {"loss": lambda step=step: asked.append(step) or 0.5})
    assert lines_of(console)[-1].endswith("loss 0.5")
    assert asked == [99]
    with StageProgress("students", 100, enabled=False) as progress:
        progress.update(1, {"loss": lambda: asked.append("nobody")})
    assert asked == [99]


def test_what_is_announced(console):
    announce("students: a dataset of at most 1.0 GiB [sic]", enabled=True, console=console)
    announce("nothing", enabled=False, console=console)
    assert lines_of(console) == ["students: a dataset of at most 1.0 GiB [sic]"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (42.4, "0:42"), (725, "12:05"), (3723, "1:02:03"), (-1, "0:00")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text
