"""The environment that runs the tests is one that the metadata allows."""

from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Set `modern` breaks these on purpose; constraints/modern-no-deps.txt and pyproject.toml say why.
KNOWN = {("imitation", "gymnasium"), ("imitation", "stable-baselines3"), ("cesma-sb3", "mpe2")}


def test_one_pygame() -> None:
    """Both packages install the folder `pygame`; the second one breaks the first."""
    names = {canonicalize_name(found.metadata["Name"]) for found in metadata.distributions()}
    assert len(names & {"pygame", "pygame-ce"}) == 1


def test_versions_lie_in_the_ranges_of_the_metadata() -> None:
    outside = set()
    for owner in ("cesma-sb3", "imitation"):
        for line in metadata.requires(owner) or ():
            need = Requirement(line)
            if need.marker and not need.marker.evaluate({"extra": ""}):
                continue
            try:
                version = metadata.version(need.name)
            except metadata.PackageNotFoundError:
                continue  # imitation's command-line parts; a missing import shows where it is used
            if not need.specifier.contains(version, prereleases=True):
                outside.add((owner, need.name))
    assert outside <= KNOWN
