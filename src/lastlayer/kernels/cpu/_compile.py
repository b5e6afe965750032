"""Kernels compiled when first needed, and kept on disk as plain machine code.

Numba compiles (`native/` is what it reads); what it made is stored as an object file under a checksum. A later
process loads that with llvmlite alone, in milliseconds and without importing Numba. The file's name holds a digest of
everything that the code depends on: the sources, the compiler's versions, the processor. A file that cannot be read,
is damaged, or cannot be written costs a compilation and nothing else.
"""

import ctypes
import hashlib
import importlib
import os
import platform
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

_SOURCES = Path(__file__).parent / "native"
# Held while a kernel is made, and across a fork: a child must not inherit a lock that nobody will release.
_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)

# What machine code may ask of the process besides itself; anything else cannot be resolved when it is loaded again.
_MAY_CALL = {"memset", "memcpy", "memmove"}


class Kernel(NamedTuple):
    """Machine code of the C type void(const int64_t*)."""

    call: Callable[[bytes | int], None]  # of the words, or their address; releases the interpreter's lock while it runs
    address: int


_kernels: dict[tuple[Any, ...], Kernel] = {}
_kept_alive: list[Any] = []


def kernel(name: str, *spec: Any) -> Kernel:
    """Return the kernel `name` ("module.function" of `native/`) compiled for `spec`."""
    found = _kernels.get((name, *spec))
    return found if found is not None else _make(name, spec)


def _make(name: str, spec: tuple[Any, ...]) -> Kernel:
    with _lock:
        key = (name, *spec)
        if key not in _kernels:
            symbol = "lastlayer_" + "_".join(str(part).replace(".", "_") for part in key)
            file_name = f"{symbol}-{_digest()}.o"
            code = _read(file_name)
            if code is None:
                code = _compiled(name, spec, symbol)
                _write(file_name, code)
            address = _loaded(code, symbol)
            _kernels[key] = Kernel(ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address), address)
        return _kernels[key]


@cache
def why_not() -> str | None:
    """Why this machine cannot run compiled kernels, or None: it can."""
    for package in ("numba", "llvmlite"):
        try:
            version(package)
        except ImportError:
            return f"{package} is not installed"
    if sys.platform not in ("linux", "darwin"):
        return f"they have not been tried on {sys.platform}"
    if sys.byteorder != "little" or sys.maxsize < 2**32:
        return "the processor is not a little-endian one of 64 bits"
    machine = platform.machine().lower()
    if machine in ("aarch64", "arm64"):
        return None
    if machine not in ("x86_64", "amd64"):
        return f"the processor is of an unknown kind, {machine}"
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        return f"llvmlite cannot be imported: {error}"
    features = llvm.get_host_cpu_features()
    missing = [name for name in ("avx2", "fma", "f16c") if not features.get(name)]
    return f"the processor lacks {', '.join(missing)}" if missing else None


@cache
def _digest() -> str:
    import llvmlite.binding as llvm

    parts = [version("numba"), version("llvmlite"), platform.platform(), llvm.get_host_cpu_name()]
    digest = hashlib.sha256("\n".join([*parts, llvm.get_host_cpu_features().flatten()]).encode())
    for source in sorted(_SOURCES.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:32]


def _compiled(name: str, spec: tuple[Any, ...], symbol: str) -> bytes:
    import llvmlite.binding as llvm
    from numba import cfunc, types

    module, function = name.split(".")
    factory = getattr(importlib.import_module(f"lastlayer.kernels.cpu.native.{module}"), function)
    with _quickly():
        made = cfunc(types.void(types.int64))(factory(*spec))
    code = llvm.parse_assembly(made.inspect_llvm())
    _machine()  # initialises LLVM
    # Numba's own entry reports exceptions to Python, through addresses of this process. A kernel raises none: its body
    # gets an entry without them, and the other is not written out.
    code.get_function(made.native_name).linkage = "available_externally"
    body = next(f for f in code.functions if not f.is_declaration and f.name != made.native_name)
    body.linkage = "external"
    code.link_in(llvm.parse_assembly(_ENTRY.format(symbol=symbol, body=body.name)))
    called = {f.name for f in code.functions if f.is_declaration and not f.name.startswith("llvm.")}
    machine_code = bytes(_machine().emit_object(code))
    # the names of what an object calls stand in it as text
    if foreign := {f for f in called - _MAY_CALL if f.encode() + b"\0" in machine_code}:
        raise RuntimeError(f"the kernel {name} calls {sorted(foreign)}, which a stored kernel cannot")
    return machine_code


@contextmanager
def _quickly() -> Iterator[None]:
    """Numba optimises every function that a kernel consists of, and the kernel again.

    Here the lanes leave it little to find: at level 1 the code is as fast, and done in four fifths of the time.
    """
    from numba.core import config
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    with global_compiler_lock:  # nobody else's code is compiled meanwhile
        cpu_target.target_context.codegen()  # made once per process, with the level that was there
        level = config.OPT
        config.OPT = type(level)(1)
        try:
            yield
        finally:
            config.OPT = level


_ENTRY = """
declare i32 @"{body}"(ptr, ptr, i64)
define void @"{symbol}"(i64 %words) {{
  %result = alloca ptr
  %error = alloca ptr
  %status = call i32 @"{body}"(ptr %result, ptr %error, i64 %words)
  ret void
}}
"""


@cache
def _machine() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        reloc="default",
        codemodel="jitdefault",
        jit=True,
    )


def _loaded(code: bytes, symbol: str) -> int:
    import llvmlite.binding as llvm

    _machine()  # initialises LLVM
    # An engine owns its target machine: each gets one of its own.
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine.__wrapped__())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    address = engine.get_function_address(symbol)
    if not address:
        raise RuntimeError(f"the compiled kernel holds no function {symbol}")
    _kept_alive.append(engine)
    return int(address)


# The cache: a checksum, then the code.


@cache
def folder() -> Path | None:
    """Where compiled kernels are kept, or None where nothing can be written."""
    for candidate in (_of_user(), _SOURCES / "__pycache__"):
        try:
            candidate.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=candidate):
                return candidate
        except OSError:
            continue
    return None


def _of_user() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData/Local") / "lastlayer" / "kernels"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/lastlayer/kernels"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lastlayer" / "kernels"


def _read(file_name: str) -> bytes | None:
    where = folder()
    try:
        content = b"" if where is None else (where / file_name).read_bytes()
    except OSError:
        return None
    checksum, code = content[:32], content[32:]
    return code if code and hashlib.sha256(code).digest() == checksum else None


def _write(file_name: str, code: bytes) -> None:
    where = folder()
    if where is None:
        return
    try:
        # Written beside its place and moved there: a reader finds all of it or nothing.
        with tempfile.NamedTemporaryFile(dir=where, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        Path(file.name).replace(where / file_name)
    except OSError:
        return  # the next process compiles again
