"""A vector register as a Numba type: `Lanes(float32, 16)` with the operators of numbers, lane by lane.

Numba's own loops leave vectorising to the compiler, which then may reorder sums, loses range reduction to fast-math
flags and runs the end of a row one number at a time. With a type of its own the kernel says what happens: every lane
does what the others do, no flag is set, sums have one order, and the end of a row is one masked load.
"""

import operator
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

_ELEMENTS = {
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.boolean: ir.IntType(1),
}
_BITS = {types.float32: types.int32, types.float64: types.int64, types.int32: types.float32, types.int64: types.float64}
_I32 = ir.IntType(32)


class Lanes(types.Type):  # type: ignore[misc]  # Numba ships no types
    """`width` numbers of one kind, held in registers."""

    def __init__(self, element: Any, width: int) -> None:
        self.element, self.width = element, width
        super().__init__(name=f"Lanes({element}, {width})")

    def of(self, element: Any) -> "Lanes":
        """As many lanes of another element."""
        return Lanes(element, self.width)


@register_model(Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, _vector(lanes))


def _vector(lanes: Lanes) -> ir.VectorType:
    return ir.VectorType(_ELEMENTS[lanes.element], lanes.width)


def _splat(builder: ir.IRBuilder, vector: ir.VectorType, scalar: ir.Value) -> ir.Value:
    if isinstance(scalar, ir.Constant):
        return ir.Constant(vector, [scalar.constant] * vector.count)
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_I32, vector.count), [0] * vector.count))


def _call(builder: ir.IRBuilder, name: str, vector: ir.VectorType, values: Any) -> ir.Value:
    """Call an LLVM function of vectors that are all alike."""
    kind = ir.FunctionType(vector, [vector] * len(values))
    full = f"{name}.v{vector.count}{_suffix(vector.element)}"
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, full), values)


def _operator(function: Any, of_floats: str, of_ints: str | None, comparison: str | None = None) -> None:
    """Make `function` work on two Lanes, or on Lanes and a number that is then the same in every lane."""

    @infer_global(function)
    class Typing(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            lanes = [a for a in args if isinstance(a, Lanes)]
            if len(args) != 2 or not lanes or not all(isinstance(a, (Lanes, types.Number)) for a in args):
                return None
            result = lanes[0].of(types.boolean) if comparison else lanes[0]
            return signature(result, *(a if isinstance(a, Lanes) else lanes[0].element for a in args))

    def lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        lanes = next(a for a in sig.args if isinstance(a, Lanes))
        vector = _vector(lanes)
        left, right = (
            value if isinstance(kind, Lanes) else _splat(builder, vector, value)
            for kind, value in zip(sig.args, args, strict=True)
        )
        floating = isinstance(lanes.element, types.Float)
        if comparison:
            ordered = builder.fcmp_ordered if floating else builder.icmp_signed
            return ordered(comparison, left, right)
        return getattr(builder, of_floats if floating else str(of_ints))(left, right)

    for kinds in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(function, *kinds)(lower)


_operator(operator.add, "fadd", "add")
_operator(operator.sub, "fsub", "sub")
_operator(operator.mul, "fmul", "mul")
_operator(operator.truediv, "fdiv", None)
_operator(operator.lshift, "fadd", "shl")
_operator(operator.rshift, "fadd", "ashr")
_operator(operator.and_, "fadd", "and_")
_operator(operator.or_, "fadd", "or_")
for _function, _sign in ((operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">=")):
    _operator(_function, "", None, _sign)
_operator(operator.eq, "", None, "==")


@intrinsic  # type: ignore[untyped-decorator]
def where(typing: Any, mask: Any, yes: Any, no: Any) -> Any:
    """`yes` in the lanes where `mask` is set, `no` in the others; either may be a number."""
    lanes = yes if isinstance(yes, Lanes) else no if isinstance(no, Lanes) else mask.of(yes)
    kinds = [kind if isinstance(kind, Lanes) else lanes.element for kind in (yes, no)]

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        values = [
            v if isinstance(k, Lanes) else _splat(builder, _vector(lanes), v)
            for k, v in zip(kinds, args[1:], strict=True)
        ]
        return builder.select(args[0], *values)

    return lanes(mask, *kinds), emit


@intrinsic  # type: ignore[untyped-decorator]
def first_of(typing: Any, count: Any, lanes: Any, fill: Any) -> Any:
    """The first `count` lanes, and `fill` in the others."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        count, values, fill = args
        return builder.select(_first(builder, count, lanes.width), values, _splat(builder, _vector(lanes), fill))

    return lanes(types.int64, lanes, lanes.element), emit


@intrinsic  # type: ignore[untyped-decorator]
def count_of(typing: Any, mask: Any) -> Any:
    """In how many lanes `mask` is set."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        word = builder.bitcast(args[0], ir.IntType(mask.width))
        return builder.zext(builder.ctpop(word), ir.IntType(64))

    return types.int64(mask), emit


@intrinsic  # type: ignore[untyped-decorator]
def fma(typing: Any, a: Any, b: Any, c: Any) -> Any:
    """a·b + c, rounded once; b and c may be numbers."""
    kinds = [kind if isinstance(kind, Lanes) else a.element for kind in (a, b, c)]

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = _vector(a)
        values = [v if isinstance(k, Lanes) else _splat(builder, vector, v) for k, v in zip(kinds, args, strict=True)]
        return _call(builder, "llvm.fma", vector, values)

    return a(*kinds), emit


@intrinsic  # type: ignore[untyped-decorator]
def bits(typing: Any, lanes: Any) -> Any:
    """The same bits, read as the other kind: float as int, int as float."""
    result = lanes.of(_BITS[lanes.element])
    return result(lanes), lambda context, builder, sig, args: builder.bitcast(args[0], _vector(result))


@intrinsic  # type: ignore[untyped-decorator]
def magnitude(typing: Any, lanes: Any) -> Any:
    """|x| in every lane."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "llvm.fabs", _vector(lanes), args)

    return lanes(lanes), emit


def _width_changer(name: str, element: Any, convert: str) -> Any:
    def typed(typing: Any, lanes: Any) -> Any:
        result = lanes.of(element)

        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            same = lanes.element == element
            return args[0] if same else getattr(builder, convert)(args[0], _vector(result))

        return result(lanes), emit

    typed.__name__ = name
    return intrinsic(typed)


to_double = _width_changer("to_double", types.float64, "fpext")
to_single = _width_changer("to_single", types.float32, "fptrunc")
from_int64 = _width_changer("from_int64", types.float64, "sitofp")


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def half_of(typing: Any, lanes: Any, which: Any) -> Any:
    """Half of the lanes as they stand: the lower for 0, the upper for 1."""
    width = lanes.width // 2
    start = width * which.literal_value
    result = Lanes(lanes.element, width)

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        order = ir.Constant(ir.VectorType(_I32, width), [start + lane for lane in range(width)])
        return builder.shuffle_vector(args[0], args[0], order)

    return result(lanes, which), emit


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def lane(typing: Any, lanes: Any, index: Any) -> Any:
    """One lane as a number."""
    position = index.literal_value

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], ir.Constant(_I32, position))

    return lanes.element(lanes, index), emit


def filled(element: Any, width: int) -> Any:
    """A function of a number that gives Lanes with it in every lane."""
    lanes = Lanes(element, width)

    @intrinsic  # type: ignore[untyped-decorator]
    def fill(typing: Any, number: Any) -> Any:
        return lanes(element), lambda context, builder, sig, args: _splat(builder, _vector(lanes), args[0])

    return fill


# Memory. An address is an int64 in bytes; storage is one of "float32", "float64", "bfloat16", "float16".

_STORED: dict[str, Any] = {
    "float32": ir.FloatType(),
    "float64": ir.DoubleType(),
    "bfloat16": ir.IntType(16),
    "float16": ir.IntType(16),
    "int64": ir.IntType(64),
}
HALVES = {"bfloat16", "float16"}
SIZE = {"float32": 4, "float64": 8, "bfloat16": 2, "float16": 2, "int64": 8}


def _widen(builder: ir.IRBuilder, value: ir.Value, storage: str, target: ir.Type, width: int) -> ir.Value:
    if storage == "bfloat16":  # the upper half of a float32
        ints = builder.zext(value, ir.VectorType(_I32, width))
        value = builder.bitcast(
            builder.shl(ints, ir.Constant(ints.type, [16] * width)), ir.VectorType(ir.FloatType(), width)
        )
    elif storage == "float16":
        value = builder.fpext(
            builder.bitcast(value, ir.VectorType(ir.HalfType(), width)), ir.VectorType(ir.FloatType(), width)
        )
    if value.type != target:
        value = builder.fpext(value, target)
    return value


def _narrow(builder: ir.IRBuilder, value: ir.Value, storage: str, width: int) -> ir.Value:
    single = ir.VectorType(ir.FloatType(), width)
    if storage == "float64":
        return value
    if value.type != single:
        value = builder.fptrunc(value, single)
    if storage == "float16":
        half = builder.fptrunc(value, ir.VectorType(ir.HalfType(), width))
        return builder.bitcast(half, ir.VectorType(ir.IntType(16), width))
    if storage == "float32":
        return value
    if width == _BY_INSTRUCTION and llvm.get_host_cpu_features().get("avx512bf16"):
        return _narrow_by_instruction(builder, value)
    return _narrow_to_bfloat16(builder, value, width)


def _narrow_by_instruction(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """One instruction for ten. It takes subnormal numbers for 0: where there is one, the ten."""
    fpclass = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VectorType(ir.IntType(1), _BY_INSTRUCTION), [value.type, _I32]),
        "llvm.x86.avx512.fpclass.ps.512",
    )
    round_all = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(ir.VectorType(_Bfloat(), _BY_INSTRUCTION), [value.type]),
        "llvm.x86.avx512bf16.cvtneps2bf16.512",
    )
    stored = ir.VectorType(ir.IntType(16), _BY_INSTRUCTION)
    small = builder.bitcast(builder.call(fpclass, [value, ir.Constant(_I32, _SUBNORMAL)]), ir.IntType(16))
    with builder.if_else(builder.icmp_unsigned("!=", small, ir.Constant(small.type, 0)), likely=False) as (rare, usual):
        with rare:
            by_hand, end_of_rare = _narrow_to_bfloat16(builder, value, _BY_INSTRUCTION), builder.block
        with usual:
            rounded, end_of_usual = builder.bitcast(builder.call(round_all, [value]), stored), builder.block
    result = builder.phi(stored)
    result.add_incoming(by_hand, end_of_rare)
    result.add_incoming(rounded, end_of_usual)
    return result


_BY_INSTRUCTION, _SUBNORMAL = 16, 0x20


class _Bfloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, for which llvmlite has no name."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Bfloat)

    def __hash__(self) -> int:
        return hash(_Bfloat)


def _narrow_to_bfloat16(builder: ir.IRBuilder, value: ir.Value, width: int) -> ir.Value:
    """Add half of the last place kept, or one less where that place is even; a NaN stays one."""
    ints = ir.VectorType(_I32, width)

    def constant(number: int) -> ir.Constant:
        return ir.Constant(ints, [number] * width)

    word = builder.bitcast(value, ints)
    odd = builder.and_(builder.lshr(word, constant(16)), constant(1))
    rounded = builder.add(word, builder.add(odd, constant(0x7FFF)))
    is_nan = builder.fcmp_unordered("uno", value, value)
    rounded = builder.select(is_nan, builder.or_(word, constant(0x400000)), rounded)
    return builder.trunc(builder.lshr(rounded, constant(16)), ir.VectorType(ir.IntType(16), width))


def _first(builder: ir.IRBuilder, count: ir.Value, width: int) -> ir.Value:
    """The mask of the first `count` lanes."""
    ints = ir.VectorType(_I32, width)
    return builder.icmp_signed(
        "<", ir.Constant(ints, list(range(width))), _splat(builder, ints, builder.trunc(count, _I32))
    )


def reader(storage: str, compute: Any, width: int) -> tuple[Any, Any]:
    """Return load(address) and load_first(address, count, fill): `width` numbers stored as `storage`."""
    lanes, element = Lanes(compute, width), _STORED[storage]
    stored, size = ir.VectorType(element, width), SIZE[storage]

    @intrinsic  # type: ignore[untyped-decorator]
    def load(typing: Any, address: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], ir.PointerType())
            return _widen(builder, builder.load(pointer, typ=stored, align=size), storage, _vector(lanes), width)

        return lanes(types.int64), emit

    @intrinsic  # type: ignore[untyped-decorator]
    def load_first(typing: Any, address: Any, count: Any, fill: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            address, count, fill = args
            pointer = builder.inttoptr(address, ir.PointerType())
            mask = _first(builder, count, width)
            name = f"llvm.masked.load.v{width}{_suffix(element)}.p0"
            kind = ir.FunctionType(stored, [ir.PointerType(), _I32, mask.type, stored])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            zeros = ir.Constant(stored, None)
            read = builder.call(function, [pointer, ir.Constant(_I32, size), mask, zeros])
            wide = _widen(builder, read, storage, _vector(lanes), width)
            return builder.select(mask, wide, _splat(builder, _vector(lanes), fill))

        return lanes(types.int64, types.int64, compute), emit

    return load, load_first


def writer(storage: str, compute: Any, width: int, streaming: bool = False) -> tuple[Any, Any]:
    """Return store(address, lanes) and store_first(address, lanes, count), rounding to `storage` once.

    A streaming store goes past the caches: what is too large for them need not be read before it is overwritten.
    Its address has to be a multiple of the vector's size.
    """
    lanes, element = Lanes(compute, width), _STORED[storage]
    stored, size = ir.VectorType(element, width), SIZE[storage]

    @intrinsic  # type: ignore[untyped-decorator]
    def store(typing: Any, address: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pointer = builder.inttoptr(args[0], ir.PointerType())
            narrow = _narrow(builder, args[1], storage, width)
            written = builder.store(narrow, pointer, align=size * width if streaming else size)
            if streaming:
                written.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(_I32, 1)]))
            return context.get_dummy_value()

        return types.void(types.int64, lanes), emit

    @intrinsic  # type: ignore[untyped-decorator]
    def store_first(typing: Any, address: Any, value: Any, count: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            address, value, count = args
            pointer = builder.inttoptr(address, ir.PointerType())
            mask = _first(builder, count, width)
            name = f"llvm.masked.store.v{width}{_suffix(element)}.p0"
            kind = ir.FunctionType(ir.VoidType(), [stored, ir.PointerType(), _I32, mask.type])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            narrow = _narrow(builder, value, storage, width)
            builder.call(function, [narrow, pointer, ir.Constant(_I32, size), mask])
            return context.get_dummy_value()

        return types.void(types.int64, lanes, types.int64), emit

    return store, store_first


def one_writer(storage: str, compute: Any) -> Any:
    """Return store_one(address, number)."""
    # Not a masked store of one lane: LLVM 22 turns that into a store of 32 bits where the lane has 16.

    @intrinsic  # type: ignore[untyped-decorator]
    def store_one(typing: Any, address: Any, value: Any) -> Any:
        def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            pair = _splat(builder, ir.VectorType(_ELEMENTS[compute], 2), args[1])
            narrow = builder.extract_element(_narrow(builder, pair, storage, 2), ir.Constant(_I32, 0))
            builder.store(narrow, builder.inttoptr(args[0], ir.PointerType()), align=SIZE[storage])
            return context.get_dummy_value()

        return types.void(types.int64, compute), emit

    return store_one


def _suffix(element: ir.Type) -> str:
    if isinstance(element, ir.FloatType):
        return "f32"
    return "f64" if isinstance(element, ir.DoubleType) else f"i{element.width}"


@intrinsic  # type: ignore[untyped-decorator]
def integer_at(typing: Any, address: Any, index: Any) -> Any:
    """The int64 at `address`[`index`]."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_element(builder, args[0], args[1]), typ=ir.IntType(64), align=8)

    return types.int64(types.int64, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def double_at(typing: Any, address: Any, index: Any) -> Any:
    """The float64 at `address`[`index`]."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(_element(builder, args[0], args[1]), typ=ir.DoubleType(), align=8)

    return types.float64(types.int64, types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def put_double(typing: Any, address: Any, index: Any, value: Any) -> Any:
    """Write a float64 at `address`[`index`]."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store(args[2], _element(builder, args[0], args[1]), align=8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.float64), emit


def _element(builder: ir.IRBuilder, address: ir.Value, index: ir.Value) -> ir.Value:
    eight = ir.Constant(ir.IntType(64), 8)
    return builder.inttoptr(builder.add(address, builder.mul(index, eight)), ir.PointerType())


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def stack(typing: Any, size: Any) -> Any:
    """The address of `size` bytes that live as long as the kernel's call, aligned for any vector."""
    number = size.literal_value

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        room = cgutils.alloca_once(builder, ir.ArrayType(ir.IntType(8), number))
        room.align = 64
        return builder.ptrtoint(room, ir.IntType(64))

    return types.int64(size), emit


@intrinsic  # type: ignore[untyped-decorator]
def take_ticket(typing: Any, counter: Any) -> Any:
    """Add 1 to the int64 at `counter` and return what it was: no two threads get the same number."""

    def emit(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = builder.inttoptr(args[0], ir.PointerType())
        return builder.atomic_rmw("add", pointer, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.int64), emit


@intrinsic  # type: ignore[untyped-decorator]
def address_of(typing: Any, pointer: Any) -> Any:
    """A pointer as a number."""
    return types.int64(pointer), lambda context, builder, sig, args: builder.ptrtoint(args[0], ir.IntType(64))
