"""The suite rejects every planted bug: a test that cannot fail tests nothing."""

import shutil
from pathlib import Path

import pytest

from tests.mutants import blind, informed, whole, whole_answers, whole_rows, whole_tables
from tests.mutants.runner import ROOT, run

PARTS = (blind, informed, whole, whole_rows, whole_answers, whole_tables)
MUTANTS = {mutant.name: mutant for part in PARTS for mutant in part.MUTANTS}
EVERYTHING = ("tests/functional", "tests/kernels", "tests/nn")
# Sources that the compiled kernels' cache is keyed by: what a mutant compiles is of no use to anybody.
OF_KERNELS = ("kernels/cpu/native/", "kernels/cpu/_compile.py")

pytestmark = pytest.mark.mutants


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a copy of the package, one for each process."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "src" / "lastlayer", folder / "lastlayer", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_every_mutant_has_a_name_of_its_own():
    assert len(MUTANTS) == sum(len(part.MUTANTS) for part in PARTS)
    assert len(blind.MUTANTS) >= 20
    assert len(informed.MUTANTS) >= 12


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_changes_one_place(name):
    mutant = MUTANTS[name]
    source = (ROOT / "src" / "lastlayer" / mutant.file).read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1
    assert mutant.old != mutant.new


def test_the_unchanged_copy_passes(folder):
    """Otherwise a rejection would mean nothing."""
    outcome = run(folder, tuple(dict.fromkeys(mutant.first for mutant in MUTANTS.values())))
    assert outcome.passed, outcome.output[-4000:]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_rejected(name, folder, tmp_path):
    mutant = MUTANTS[name]
    kernels = tmp_path if mutant.file.startswith(OF_KERNELS) else None
    path = folder / "lastlayer" / mutant.file
    whole = path.read_bytes()
    mutant.plant(folder / "lastlayer")
    try:
        survives = all(run(folder, tests, kernels).passed for tests in ((mutant.first,), EVERYTHING))
    finally:
        path.write_bytes(whole)
    assert not survives, f"no test notices: {mutant.why}"
