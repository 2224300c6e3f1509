"""The stack machine of the pickle format; what it would import or call becomes a record."""

import pickle
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable
from typing import Any

from covtool.checkpoints.pickles.calls import call, class_of
from covtool.checkpoints.pickles.hostile import runs_code
from covtool.checkpoints.pickles.keys import require_key
from covtool.checkpoints.pickles.records import (
    LONGEST_NAME,
    CodeError,
    GlobalName,
    PickleError,
    Placeholder,
)
from covtool.checkpoints.pickles.source import LITERALS, Source, line_text, whole_number

MOST_OPERATIONS = 5_000_000
"""Operations of a pickle: of the largest real file known, 100 times as many."""

MOST_NAMES = 10_000
"""Classes and functions that a pickle may name."""

_DIGITS_OF_PLACE = 20  # in the memo
_SET = GlobalName("builtins", "set")
_FROZEN_SET = GlobalName("builtins", "frozenset")

PersistentLoad = Callable[[Any], Any]


class Machine:
    """Reads one pickle into plain containers and records.

    Args:
        source: Position where it starts; afterwards, where it ended.
        persistent: Makes a record of what the pickle refers to outside itself.

    Attributes:
        names: Every class and function that is named, in order.
        refused: Those that would run code.
    """

    def __init__(self, source: Source, persistent: PersistentLoad | None = None) -> None:
        self.source = source
        self.persistent = persistent or _no_persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.names: dict[str, None] = {}
        self.refused: dict[str, None] = {}
        self._spent = 0  # operations' worth of work beside the operations themselves

    def run(self) -> Any:
        """Return the object of the pickle.

        Raises:
            CodeError: It names what would run code, be it damaged or not.
            PickleError: It is malformed.
        """
        try:
            value = self._run()
        # A file that names dangerous functions is called dangerous, even if it is damaged as well.
        except PickleError as problem:
            if self.refused:
                raise CodeError(list(self.refused)) from problem
            raise
        if self.refused:
            raise CodeError(list(self.refused))
        return value

    def _run(self) -> Any:
        source, push = self.source, self.stack.append
        # Bounded: memo and DUP let a file of a few bytes ask for endless work.
        for _ in range(MOST_OPERATIONS):
            operation = source.take(1)
            literal = LITERALS.get(operation)
            if literal is not None:
                push(literal(source))
            elif operation == pickle.STOP:
                return self.pop()
            else:
                action = OPERATIONS.get(operation)
                if action is None:
                    raise PickleError(f"It has an unknown operation, {operation!r}.")
                action(self)
        raise _too_many()

    def spend(self, operations: int) -> None:
        """Note that an operation was as much work as so many.

        Raises:
            PickleError: All together are too many.
        """
        self._spent += operations
        if self._spent > MOST_OPERATIONS:
            raise _too_many()

    def pop(self) -> Any:
        """Return the topmost value, which must be above the last mark."""
        # Python's own unpickler lets an operation reach below a mark; no writer produces that.
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise PickleError("It takes a value that is not there.")
        return self.stack.pop()

    def top(self) -> Any:
        """Return the topmost value, which stays."""
        if not self.stack:
            raise PickleError("It looks at a value that is not there.")
        return self.stack[-1]

    def pop_mark(self) -> list[Any]:
        """Return the values above the last mark, which is removed."""
        if not self.marks:
            raise PickleError("It goes back to a mark that is not there.")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    # Nothing is ever imported: a name is text, and what it may mean is decided in `settling`.
    def name(self, module: Any, qualname: Any) -> GlobalName:
        """Return what a class or a function is called today; noted, never looked up."""
        if not isinstance(module, str) or not isinstance(qualname, str):
            raise PickleError("The name of a class is not text.")
        if not (module and qualname) or len(module) + len(qualname) > LONGEST_NAME:
            raise PickleError("The name of a class is empty, or too long.")
        found = GlobalName(*_renamed(module, qualname))
        if found.full not in self.names:
            self._note(found)
        return found

    def _note(self, name: GlobalName) -> None:
        if len(self.names) == MOST_NAMES:
            raise PickleError(f"It names more than {MOST_NAMES:,} classes.")
        self.names[name.full] = None
        if runs_code(name):
            self.refused[name.full] = None

    def call(self, callee: Any, arguments: Any, keywords: Any = None) -> None:
        """Push what stands for a call."""
        keywords = {} if keywords is None else keywords
        if not isinstance(arguments, tuple) or not isinstance(keywords, dict):
            raise PickleError("The arguments of a call are not a tuple.")
        made = call(callee, arguments, keywords, self.spend)
        # A name that a call makes (`getattr`) is judged like one that stands in the file.
        if isinstance(made, GlobalName):
            made = self.name(made.module, made.qualname)
        elif made.callee is not callee:
            made.callee = self.name(made.callee.module, made.callee.qualname)
        self.stack.append(made)


def _too_many() -> PickleError:
    return PickleError(f"It has more than {MOST_OPERATIONS:,} operations.")


def _renamed(module: str, qualname: str) -> tuple[str, str]:
    """Return the name in Python 3 of a module and a class, which may be Python 2's."""
    # Checkpoints of Python 2 name modules as they were called then: `__builtin__`, `copy_reg`.
    if (module, qualname) in NAME_MAPPING:
        return NAME_MAPPING[module, qualname]
    return IMPORT_MAPPING.get(module, module), qualname


def _no_persistent(reference: Any) -> Any:
    raise PickleError("It refers to what is outside of it.")


def _set_items(machine: Machine, values: list[Any]) -> None:
    target = machine.top()
    if isinstance(target, Placeholder):
        if target.items is None:
            target.items = {}
        target = target.items
    if not isinstance(target, dict) or len(values) % 2:
        raise PickleError("It sets items of what has none.")
    for key, value in zip(values[::2], values[1::2], strict=True):
        # A key is hashed as often as it is set: a huge nested tuple as key would cost much each
        # time.
        machine.spend(require_key(key))
        target[key] = value


def _add_elements(machine: Machine, values: list[Any]) -> None:
    target = machine.top()
    if isinstance(target, Placeholder):
        if target.elements is None:
            target.elements = []
        target = target.elements
    if not isinstance(target, list):
        raise PickleError("It appends to what is not a list.")
    target.extend(values)


def _dict(machine: Machine) -> None:
    values = machine.pop_mark()
    machine.stack.append({})
    _set_items(machine, values)


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    _set_items(machine, [key, value])


def _frozen_set(machine: Machine) -> None:
    machine.stack.append(Placeholder(_FROZEN_SET, elements=machine.pop_mark()))


def _tuple(count: int) -> Callable[[Machine], None]:
    def make(machine: Machine) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(values)))

    return make


def _pop(machine: Machine) -> None:
    # POP removes a mark where nothing is above it, as in Python's C unpickler.
    if machine.marks and machine.marks[-1] == len(machine.stack):
        machine.marks.pop()
    else:
        machine.pop()


def _get(index: Callable[[Source], int]) -> Callable[[Machine], None]:
    def recall(machine: Machine) -> None:
        number = index(machine.source)
        if number not in machine.memo:
            raise PickleError(f"It recalls value {number}, which was never kept.")
        machine.stack.append(machine.memo[number])

    return recall


# Kept by number in a dictionary: an array would have to be as long as the largest number.
def _put(index: Callable[[Source], int]) -> Callable[[Machine], None]:
    def keep(machine: Machine) -> None:
        machine.memo[index(machine.source)] = machine.top()

    return keep


def _memoize(machine: Machine) -> None:
    # MEMOIZE numbers by the size of the memo, not by a counter (PEP 3154).
    machine.memo[len(machine.memo)] = machine.top()


def _global(machine: Machine) -> None:
    module, qualname = line_text(machine.source), line_text(machine.source)
    machine.stack.append(machine.name(module, qualname))


def _stack_global(machine: Machine) -> None:
    qualname, module = machine.pop(), machine.pop()
    machine.stack.append(machine.name(module, qualname))


def _reduce(machine: Machine) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.call(callee, arguments)


def _new(machine: Machine) -> None:
    arguments, callee = machine.pop(), machine.pop()
    machine.call(class_of(callee), arguments)


def _new_with_keywords(machine: Machine) -> None:
    keywords, arguments, callee = machine.pop(), machine.pop(), machine.pop()
    machine.call(class_of(callee), arguments, keywords)


def _instance(machine: Machine) -> None:
    module, qualname = line_text(machine.source), line_text(machine.source)
    machine.call(machine.name(module, qualname), tuple(machine.pop_mark()))


def _object(machine: Machine) -> None:
    callee, *arguments = machine.pop_mark() or [None]
    machine.call(class_of(callee), tuple(arguments))


def _build(machine: Machine) -> None:
    state, target = machine.pop(), machine.top()
    if not isinstance(target, Placeholder):
        raise PickleError("It gives attributes to what has none.")
    target.state = state


def _persistent(machine: Machine) -> None:
    machine.stack.append(machine.persistent(machine.pop()))


def _persistent_line(machine: Machine) -> None:
    machine.stack.append(machine.persistent(line_text(machine.source)))


def _protocol(machine: Machine) -> None:
    version = machine.source.unsigned(1)
    if version > pickle.HIGHEST_PROTOCOL:
        raise PickleError(f"It is written in protocol {version}, which does not exist.")


def _line_number(source: Source) -> int:
    return whole_number(source.line(longest=_DIGITS_OF_PLACE))


OPERATIONS: dict[bytes, Callable[[Machine], None]] = {
    pickle.MARK: lambda m: m.marks.append(len(m.stack)),
    pickle.POP: _pop,
    pickle.POP_MARK: lambda m: m.pop_mark() and None,
    pickle.DUP: lambda m: m.stack.append(m.top()),
    pickle.PERSID: _persistent_line,
    pickle.BINPERSID: _persistent,
    pickle.REDUCE: _reduce,
    pickle.NEWOBJ: _new,
    pickle.NEWOBJ_EX: _new_with_keywords,
    pickle.INST: _instance,
    pickle.OBJ: _object,
    pickle.BUILD: _build,
    pickle.GLOBAL: _global,
    pickle.STACK_GLOBAL: _stack_global,
    pickle.APPEND: lambda m: _add_elements(m, [m.pop()]),
    pickle.APPENDS: lambda m: _add_elements(m, m.pop_mark()),
    pickle.LIST: lambda m: m.stack.append(m.pop_mark()),
    pickle.TUPLE: lambda m: m.stack.append(tuple(m.pop_mark())),
    pickle.TUPLE1: _tuple(1),
    pickle.TUPLE2: _tuple(2),
    pickle.TUPLE3: _tuple(3),
    pickle.DICT: _dict,
    pickle.SETITEM: _set_item,
    pickle.SETITEMS: lambda m: _set_items(m, m.pop_mark()),
    pickle.EMPTY_SET: lambda m: m.stack.append(Placeholder(_SET, elements=[])),
    pickle.ADDITEMS: lambda m: _add_elements(m, m.pop_mark()),
    pickle.FROZENSET: _frozen_set,
    pickle.GET: _get(_line_number),
    pickle.BINGET: _get(lambda source: source.unsigned(1)),
    pickle.LONG_BINGET: _get(lambda source: source.unsigned(4)),
    pickle.PUT: _put(_line_number),
    pickle.BINPUT: _put(lambda source: source.unsigned(1)),
    pickle.LONG_BINPUT: _put(lambda source: source.unsigned(4)),
    pickle.MEMOIZE: _memoize,
    pickle.PROTO: _protocol,
    # The length of a frame is a hint for buffering only, so it is skipped and not believed.
    pickle.FRAME: lambda m: m.source.take(8) and None,
}
