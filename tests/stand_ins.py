"""Classes of libraries that are not installed, for as long as something is pickled."""

import sys
import types
from contextlib import contextmanager


class StandIns:
    """Makes classes under any module's name; `registered` lets pickle find them."""

    def __init__(self):
        self.modules = {}

    def cls(self, full, *bases, **attributes):
        module, _, name = full.rpartition(".")
        known = getattr(self.modules.get(module), name, None)
        made = type(name, bases, {"__module__": module, **attributes})
        return known or self._added(module, name, made)

    def _added(self, module, name, made):
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            package = ".".join(parts[:end])
            self.modules.setdefault(package, types.ModuleType(package))
        setattr(self.modules[module], name, made)
        return made

    def object(self, full, **state):
        made = self.cls(full)()
        vars(made).update(state)
        return made

    def function(self, full):
        module, _, name = full.rpartition(".")

        def stand_in(*arguments, **keywords):
            raise AssertionError(f"{full} was called.")

        stand_in.__module__, stand_in.__qualname__ = module, name
        return self._added(module, name, stand_in)

    @contextmanager
    def registered(self):
        hidden = {name: sys.modules.get(name) for name in self.modules}
        sys.modules.update(self.modules)
        try:
            yield
        finally:
            for name, module in hidden.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module


class Calls:
    """Pickles into a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class ImportsAreErrors:
    """A finder that takes note of every module that is imported anew."""

    def __init__(self):
        self.asked = []

    def find_spec(self, name, path=None, target=None):
        self.asked.append(name)

    @contextmanager
    def watching(self):
        sys.meta_path.insert(0, self)
        try:
            yield
        finally:
            sys.meta_path.remove(self)
