"""What every test gets."""

import signal
from pathlib import Path

import pytest

# A shell starts its background jobs with interrupts ignored, and what they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", default=str(ROOT.parent / "shared" / "data"), help="folder of the real data sets")
    parser.addoption("--memory", type=float, default=0.0, metavar="GIB", help="also run tests that need so much memory")
    parser.addoption(
        "--type-check",
        action="store_true",
        help="check every annotated shape and dtype at run time (jaxtyping, beartype)",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--type-check"):
        from jaxtyping import install_import_hook

        install_import_hook(["lastlayer.functional", "lastlayer.nn"], "beartype.beartype")
    import torch

    torch.set_num_threads(1)  # tests run side by side, one process per core


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test marked memory(GiB) runs where so much was promised."""
    marker = item.get_closest_marker("memory")
    if marker is not None and marker.args[0] > item.config.getoption("--memory"):
        pytest.skip(f"takes {marker.args[0]} GiB of memory and a minute: pytest --memory {marker.args[0]}")


@pytest.fixture(autouse=True)
def _poison_fresh_memory():
    """In this mode torch fills what `empty` returns with NaN, so that nothing unwritten looks like a result."""
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Path:
    folder = Path(request.config.getoption("--data"))
    if not folder.is_dir():
        pytest.skip(f"real data sets are not at {folder}: name their folder with --data")
    return folder
