"""make docs-check: pages and traces as their readers' programs see them. Says which of these programs are missing.

LaTeX is compiled where a TeX is, HTML is parsed strictly, and Chromium opens every page in both languages, in light and
dark and at the width of a phone; the screenshots are left in build/docs-check to be looked at.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lastlayer import explanation as told
from lastlayer.explanation import explain

ROOT = Path(__file__).parents[1]
OUT = ROOT / "build" / "docs-check"
TRACES = {
    "multiclass": explain([4.0, 2.0, -2.0], "dog", classes=["dog", "cat", "rabbit"]),
    "binary": explain(-0.1522, "hot dog", kind="binary", classes=["no", "hot dog"], threshold=0.4),
    "batch": explain([[2.0, 0.5, 0.1], [0.3, 1.2, 0.4], [1.0, 1.0, 1.0]], [0, 1, -100], weight=[1.0, 3.0, 1.0]),
    "features": told.explain_features([1.0, -2.0], [[1.0, 0.5], [0.0, 1.0]], 1, learning_rate=0.1),
    "distributions": told.explain_distributions([0.7, 0.2, 0.1], [0.6, 0.3, 0.1]),
    "stable": told.contrast("naive-stable", [110.0, 0.0]),
}
LOOKS = {
    "light": ["--window-size=900,3600"],
    "dark": ["--window-size=900,3600", "--blink-settings=preferredColorScheme=0"],
    "phone": ["--window-size=500,3600"],
}


def main() -> int:
    """Run every check whose program is there."""
    OUT.mkdir(parents=True, exist_ok=True)
    for name, trace in TRACES.items():
        for language in ("en", "ko"):
            trace.save(OUT / f"{name}-{language}.html", language)
            trace.save(OUT / f"{name}-{language}.tex", language)
    guides = sorted((ROOT / "build" / "docs" / "guides").rglob("*.html"))
    pages = [*sorted(OUT.glob("*.html")), *guides]
    wrong = [*_latex(sorted(OUT.glob("*.tex"))), *_html(sorted(OUT.glob("*.html"))), *_browser(pages)]
    for problem in wrong:
        sys.stdout.write(f"✗ {problem}\n")
    if not guides:
        sys.stdout.write("– build/docs holds no guides: run make docs first\n")
    return 1 if wrong else 0


def _run(command: list[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    # every command is a program found on the PATH and a file of ours
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)  # noqa: S603


def _latex(files: list[Path]) -> list[str]:
    engine = next((name for name in ("pdflatex", "xelatex", "lualatex", "tectonic") if shutil.which(name)), None)
    if engine is None:
        sys.stdout.write("– LaTeX not compiled: there is no pdflatex, xelatex, lualatex or tectonic\n")
        return []
    flags = [] if engine == "tectonic" else ["-interaction=nonstopmode", "-halt-on-error"]
    korean = shutil.which("kpsewhich") is None or bool(_said(["kpsewhich", "kotex.sty"]))
    wrong = []
    for file in files:
        if file.stem.endswith("-ko") and not korean:
            continue
        done = _run([engine, *flags, file.name], file.parent)
        log = file.with_suffix(".log")
        said = log.read_text(errors="replace") if log.is_file() else ""
        if done.returncode or "Missing character" in said:
            wrong.append(f"{file.name} does not compile: see {log}")
    if not korean:
        sys.stdout.write("– Korean LaTeX not compiled: this TeX has no kotex\n")
    sys.stdout.write(f"✓ LaTeX: {engine}, {len(files) - len(wrong)} documents\n")
    return wrong


def _html(files: list[Path]) -> list[str]:
    try:
        import html5lib
    except ModuleNotFoundError:
        sys.stdout.write("– HTML not validated: html5lib is not installed\n")
        return []
    wrong = []
    for file in files:
        try:
            html5lib.HTMLParser(strict=True).parse(file.read_text(encoding="utf-8"))
        except html5lib.html5parser.ParseError as error:
            wrong.append(f"{file.name}: {error}")
    sys.stdout.write(f"✓ HTML: {len(files) - len(wrong)} pages are valid\n")
    return wrong


def _browser(pages: list[Path]) -> list[str]:
    chromium = next((name for name in ("chromium", "chromium-browser", "google-chrome") if shutil.which(name)), None)
    if chromium is None:
        sys.stdout.write("– Pages not opened: there is no chromium\n")
        return []
    # a browser that runs as root, as in a container, has no sandbox to start
    base = [
        chromium,
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        *(["--no-sandbox"] if os.getuid() == 0 else []),
    ]
    wrong = []
    for page in pages:
        tree = _said([*base, "--dump-dom", page.as_uri()])
        korean = "-ko" in page.stem or page.parent.name == "ko"
        if "<math" not in tree and page.parent == OUT:
            wrong.append(f"{page.name}: no formula reached the browser")
        hangul = any("가" <= letter <= "힣" for letter in tree)
        if korean > hangul or (hangul > korean and page.parent == OUT):  # an English guide may link to the Korean one
            wrong.append(f"{page.name}: the other language")
        for look, flags in LOOKS.items() if page.parent == OUT else [("light", LOOKS["light"])]:
            name = page.stem if page.parent == OUT else f"guide-{page.parent.name}-{page.stem}"
            picture = OUT / f"{name}-{look}.png"
            picture.unlink(missing_ok=True)
            _said([*base, *flags, f"--screenshot={picture}", page.as_uri()])
            if not picture.is_file() or picture.stat().st_size < 10_000:
                wrong.append(f"{page.name}: nothing is drawn ({look})")
    sys.stdout.write(f"✓ Chromium opened {len(pages)} pages; screenshots in {OUT.relative_to(ROOT)}\n")
    return wrong


def _said(command: list[str]) -> str:
    return _run(command).stdout


if __name__ == "__main__":
    sys.exit(main())
