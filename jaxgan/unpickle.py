"""The data half of Python's pickle format, read without running anything: an interpreter of opcodes that has no call.

Python's own unpickler looks names up in modules, calls what it finds and sets attributes of what comes out. This one
never does. A name in the file becomes a `Name`; "call f with these arguments" hands both to the reader's own `build`,
which knows a closed list of names and refuses every other. So the worst that a file can do is be wrong.
"""

import io
import pickletools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class Name(NamedTuple):
    """A class or function that the file names. Only a name."""

    dotted: str


class Pending:
    """An object that the file makes in two strokes, such as a NumPy array: made empty, then given its state.

    A class because the file may refer to it between the two.
    """

    def __init__(self, finish: Callable[[Any], Any]):
        self.finish = finish  # state -> the object
        self.keys: list[int] = []  # where the memo holds it


class Reader(NamedTuple):
    """What the names in a file stand for; each function raises ValueError to refuse."""

    name: Callable[[str], Any]  # dotted name -> a value, or Name for what may be built
    build: Callable[[str, tuple], Any]  # (dotted name, arguments) -> value or Pending
    persistent: Callable[[Any], Any]  # persistent id -> value


def load(data: bytes, start: int, reader: Reader) -> tuple[Any, int]:
    """The object of one pickle.

    Args:
      data: holds the pickle.
      start: where it begins in data.
      reader: gives the names their meaning.
    Returns:
      (object, position after the pickle).
    Raises:
      ValueError: refused, or damaged. Damage may also show as KeyError, IndexError, TypeError, RecursionError, ...:
        callers treat any exception as damage.
    """
    file = io.BytesIO(data)
    file.seek(start)
    machine = _Machine(reader)
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "STOP":
            return machine.pop(), file.tell()
        if opcode.name in _CONSTANTS:
            machine.stack.append(argument)
        elif opcode.name in _STEPS:
            _STEPS[opcode.name](machine, argument)
        elif opcode.name not in ("PROTO", "FRAME"):
            raise ValueError(f"refused: the pickle uses {opcode.name}")
    raise ValueError("the pickle has no end")


def plain_keys(keys: Iterable[Any]) -> list:
    """The keys of a dict or the elements of a set, when they are plain. (To hash a crafted nest of tuples takes for ever.)"""
    keys = list(keys)
    for key in keys:
        if not isinstance(key, str | bytes | int | float | None | Name):
            raise ValueError(f"a key that is a {type(key).__name__}")
    return keys


def as_dict(items: Any) -> dict:
    """A dict of a dict's or a list of pairs' plain keys."""
    pairs = list(items.items() if isinstance(items, dict) else items)
    return dict(zip(plain_keys(pair[0] for pair in pairs), [pair[1] for pair in pairs], strict=True))


class _Mark:
    pass


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, reader):
        self.reader, self.stack, self.memo = reader, [], {}

    def pop(self):
        value = self.stack.pop()
        if value is _Mark:
            raise ValueError("a mark where a value should be")
        return value

    def since_mark(self):
        at = len(self.stack) - 1
        while self.stack[at] is not _Mark:  # runs out with IndexError where there is no mark
            at -= 1
            if at < 0:
                raise ValueError("no mark on the stack")
        values = self.stack[at + 1 :]
        del self.stack[at:]
        return values

    def put(self, key):
        value = self.stack[-1]
        self.memo[key] = value
        if isinstance(value, Pending):
            value.keys.append(key)

    def named(self, dotted):
        self.stack.append(self.reader.name(dotted))

    def make(self, what, arguments):
        if not isinstance(what, Name):
            raise ValueError("refused: it calls something that is not a name")
        if not isinstance(arguments, tuple):
            raise ValueError("arguments that are not a tuple")
        self.stack.append(self.reader.build(what.dotted, arguments))

    def give_state(self, state):
        target = self.stack[-1]
        if isinstance(target, Pending):
            value = target.finish(state)
            self.stack[-1] = value
            for key in target.keys:
                self.memo[key] = value
        elif not isinstance(target, dict):  # torch hangs a version record on its state dicts; it is left out
            raise ValueError(f"refused: it sets the state of a {type(target).__name__}")


def _dotted(module, name):
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name that is not text")
    return f"{PYTHON2.get(module, module)}.{name}"


def _reduce(m, _):
    arguments, what = m.pop(), m.pop()
    m.make(what, arguments)


def _new_with_keywords(m, _):
    if m.pop():
        raise ValueError("refused: it makes an object with keyword arguments")
    _reduce(m, _)


def _stack_global(m, _):
    name, module = m.pop(), m.pop()
    m.named(_dotted(module, name))


def _global(m, argument):
    m.named(_dotted(*argument.split(" ", 1)))


def _collect(make):
    return lambda m, _: m.stack.append(make(m.since_mark()))


def _tuple(count):
    return lambda m, _: m.stack.append(tuple([m.pop() for _ in range(count)][::-1]))


def _pairs(values):
    return dict(zip(plain_keys(values[::2]), values[1::2], strict=True))


def _grow(kind, add):
    """A step that adds what lies above the mark to the container below it."""

    def step(m, _):
        values = m.since_mark()
        if not isinstance(m.stack[-1], kind):
            raise ValueError(f"items for a {type(m.stack[-1]).__name__}")
        add(m.stack[-1], values)

    return step


def _one(count, step):
    """The same for the opcode that adds a single item: put a mark under it first."""

    def single(m, _):
        m.stack.insert(len(m.stack) - count, _Mark)
        step(m, _)

    return single


_append = _grow(list, list.extend)
_set_items = _grow(dict, lambda d, values: d.update(_pairs(values)))
_CONSTANTS = frozenset(
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES
    SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8""".split()
)
_STEPS: dict[str, Callable[[_Machine, Any], Any]] = {
    "NONE": lambda m, _: m.stack.append(None),
    "NEWTRUE": lambda m, _: m.stack.append(True),
    "NEWFALSE": lambda m, _: m.stack.append(False),
    "MARK": lambda m, _: m.stack.append(_Mark),
    "POP": lambda m, _: m.stack.pop(),
    "POP_MARK": lambda m, _: m.since_mark(),
    "DUP": lambda m, _: m.stack.append(m.stack[-1]),
    "EMPTY_TUPLE": lambda m, _: m.stack.append(()),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": _collect(tuple),
    "EMPTY_LIST": lambda m, _: m.stack.append([]),
    "LIST": _collect(list),
    "APPEND": _one(1, _append),
    "APPENDS": _append,
    "EMPTY_DICT": lambda m, _: m.stack.append({}),
    "DICT": _collect(_pairs),
    "SETITEM": _one(2, _set_items),
    "SETITEMS": _set_items,
    "EMPTY_SET": lambda m, _: m.stack.append(set()),
    "ADDITEMS": _grow(set, lambda s, values: s.update(plain_keys(values))),
    "FROZENSET": _collect(lambda values: frozenset(plain_keys(values))),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "GET": lambda m, key: m.stack.append(m.memo[key]),
    "BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "LONG_BINGET": lambda m, key: m.stack.append(m.memo[key]),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "NEWOBJ_EX": _new_with_keywords,
    "BUILD": lambda m, _: m.give_state(m.pop()),
    "BINPERSID": lambda m, _: m.stack.append(m.reader.persistent(m.pop())),
}
